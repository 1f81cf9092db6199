"""Handlers of commands: one for each row of the table of routes, all alike, and one for batches of purchases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from msgspec import UNSET, Raw, Struct, UnsetType

from ledger.commands import AnyCommand, RecordPurchase
from ledger.rejections import Rejection
from ledger.submissions import Malformed, Outcome, Submission
from service.http.access import ROLES, TRADE, backend_of, key_of
from service.http.answers import Encoded
from service.http.backend import Limits
from service.http.command_routes import CREATE_PROGRAMME, ROUTES, CommandRoute
from service.http.description import POSITION_HEADER, PROBLEMS, operation_with_body
from service.http.messages import idempotency_key, read_command
from service.http.paths import decoded
from service.http.problems import Problem, ProblemDetails, problem, refusal
from service.keys import ApiKey

LEDGER_POSITION: Final = "Ledger-Position"
BATCH_MAX: Final = 5_000

ProgrammeName = Annotated[str, PathParameter(description="The programme.")]
DryRun = Annotated[
    bool,
    QueryParameter(description="Only decide: answer as if it were recorded, and record nothing."),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="The id of the command where the body has none. Sent again with the same body, the command is not"
        " recorded twice; with another body it is refused.",
    ),
]


class Recorded(Struct, frozen=True, kw_only=True):
    """What became of a command that was not refused. `duplicate`: it had been recorded before, with the same input.

    `first` and `last` are the positions of its events in `journal`; with `dry_run` those that they would have had.
    """

    status: Literal["posted", "duplicate"]
    journal: int
    first: int
    last: int
    source: str
    id: str
    dry_run: bool


class Result(Struct, frozen=True, kw_only=True):
    """What became of one purchase of a batch; `problem` says why it was refused."""

    status: Literal["posted", "duplicate", "rejected"]
    id: str
    journal: int | UnsetType = UNSET
    first: int | UnsetType = UNSET
    last: int | UnsetType = UNSET
    problem: ProblemDetails | UnsetType = UNSET


class Results(Struct, frozen=True, kw_only=True):
    """What became of the purchases of a batch, in their order."""

    posted: int
    duplicate: int
    rejected: int
    dry_run: bool
    results: list[Result]


class PurchaseBatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 5,000 purchases, each as it would be posted alone."""

    purchases: list[Raw]


_AGAIN: Final = ResponseSpec(
    Recorded, description="Recorded before, with the same input; or only tried", generate_examples=False
)
_batch: Final = msgspec.json.Decoder(PurchaseBatch)
_PURCHASE: Final = next(route for route in ROUTES if route.command is RecordPurchase)


async def handle_command(
    request: Request[Any, Any, Any], route: CommandRoute, programme: str | None, id: str | None, *, dry_run: bool
) -> Response[Recorded]:
    """Take the body of a request as a command; Raises Problem where it is refused."""
    backend = backend_of(request)
    body = await read_body(request)
    command = read_command(route, programme, key_of(request), body, idempotency_key(id))
    if isinstance(command, Malformed):
        raise Problem(refusal(command.rejection))
    submission = Submission(command, origin=origin_of(key_of(request)))
    if dry_run:
        (outcome,) = await backend.handle([submission], dry_run=True)
    else:
        outcome = await backend.submit(submission)
    if outcome.rejection is not None:
        raise Problem(refusal(outcome.rejection))
    assert outcome.status in ("posted", "duplicate")
    recorded = Recorded(
        status=outcome.status,  # type: ignore[arg-type]
        journal=outcome.journal,
        first=outcome.first,
        last=outcome.last,
        source=command.source,
        id=command.id,
        dry_run=dry_run,
    )
    created = outcome.status == "posted" and not dry_run
    headers = {} if dry_run else {LEDGER_POSITION: f"{outcome.journal}:{outcome.last}"}
    return Encoded(msgspec.json.encode(recorded), status_code=201 if created else 200, headers=headers)


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """The body of a request. Raises Problem where it takes too long to arrive, or its client leaves before it has."""
    limits: Limits = backend_of(request).limits
    try:
        async with asyncio.timeout(limits.client_seconds):
            return await request.body()
    except TimeoutError:
        raise problem("REQUEST_TIMEOUT", f"The body must arrive within {limits.client_seconds:g} s.") from None
    except HTTPException as error:
        if error.status_code >= 500:
            raise problem("REQUEST_INVALID", "The client left before its body had arrived.") from error
        raise


def origin_of(key: ApiKey) -> str:
    """Where a command came from, as it is kept with what is refused."""
    return f"http key {key.key}"


def command_handler(route: CommandRoute, limits: Limits) -> HTTPRouteHandler:
    """The handler of a route of the table."""

    async def handle(
        request: Request[Any, Any, Any],
        programme: ProgrammeName,
        dry_run: DryRun = False,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[Recorded]:
        name = decoded("programme", programme)
        return await handle_command(request, route, name, idempotency_key, dry_run=dry_run)

    path = f"/programmes/{{programme:str}}/{route.path}"
    return _decorated(route, path, limits)(handle)


def create_programme_handler(limits: Limits) -> HTTPRouteHandler:
    """The handler that creates a programme."""

    async def handle(
        request: Request[Any, Any, Any], dry_run: DryRun = False, idempotency_key: IdempotencyKey = None
    ) -> Response[Recorded]:
        return await handle_command(request, CREATE_PROGRAMME, None, idempotency_key, dry_run=dry_run)

    return _decorated(CREATE_PROGRAMME, "/programmes", limits)(handle)


def _decorated(route: CommandRoute, path: str, limits: Limits) -> Any:
    name = route.command.__name__
    summary, _, _ = (route.command.__doc__ or "").partition(".")
    return post(
        path,
        name=name,
        operation_id=name,
        summary=" ".join(summary.split()),
        description=f"{route.command.__doc__}\n\nRoles: {', '.join(sorted(route.roles))}.",
        tags=["commands"],
        opt={ROLES: route.roles},
        request_max_body_size=limits.body_bytes,
        operation_class=operation_with_body(f"commands.{name}"),
        response_headers=[POSITION_HEADER],
        response_description="Recorded",
        responses={200: _AGAIN} | PROBLEMS,
    )


# --- batches ------------------------------------------------------------------------------------------------------


def purchase_batch_handler(limits: Limits) -> HTTPRouteHandler:
    """The handler of batches of purchases."""

    @post(
        "/programmes/{programme:str}/purchase-batches",
        name="RecordPurchases",
        operation_id="RecordPurchases",
        summary="Record up to 5,000 purchases, with a result each",
        description="Each is recorded or refused by itself. After an error of the whole batch, such as 503, some may be"
        f" recorded: the same batch may be sent again, and doubles nothing.\n\nRoles: {', '.join(sorted(TRADE))}.",
        tags=["commands"],
        opt={ROLES: TRADE},
        status_code=200,
        request_max_body_size=limits.batch_bytes,
        operation_class=operation_with_body("PurchaseBatch"),
        response_headers=[POSITION_HEADER],
        responses=PROBLEMS,
    )
    async def handle(
        request: Request[Any, Any, Any], programme: ProgrammeName, dry_run: DryRun = False
    ) -> Response[Results]:
        backend, key, name = backend_of(request), key_of(request), decoded("programme", programme)
        body = await read_body(request)
        read = await backend.in_thread(lambda: _read_batch(body, name, key))
        origin = origin_of(key)
        outcomes = await backend.handle([Submission(one, origin=origin) for one in read], dry_run=dry_run)
        return await backend.in_thread(lambda: _results(read, outcomes, dry_run=dry_run))

    return handle


def _read_batch(body: bytes, programme: str, key: ApiKey) -> list[AnyCommand | Malformed]:
    try:
        purchases = _batch.decode(body).purchases
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        rule = f'must be {{"purchases": [...]}}: {error}'
        raise Problem(refusal(Rejection("NOT_JSON", "body", rule))) from error
    if not 1 <= len(purchases) <= BATCH_MAX:
        rule = f"must have 1 to {BATCH_MAX:,} entries"
        raise Problem(refusal(Rejection("INVALID_FIELD", "purchases", rule, f"{len(purchases):,}")))
    return [read_command(_PURCHASE, programme, key, bytes(purchase)) for purchase in purchases]


def _results(
    read: Sequence[AnyCommand | Malformed], outcomes: Sequence[Outcome], *, dry_run: bool
) -> Response[Results]:
    counts = {"posted": 0, "duplicate": 0, "rejected": 0}
    last: dict[int, int] = {}
    results = []
    for command, outcome in zip(read, outcomes, strict=True):
        counts[outcome.status] += 1
        if outcome.rejection is not None:
            results.append(Result(status="rejected", id=command.id, problem=refusal(outcome.rejection)))
            continue
        last[outcome.journal] = max(outcome.last, last.get(outcome.journal, 0))
        results.append(
            Result(
                status=outcome.status,  # type: ignore[arg-type]
                id=command.id,
                journal=outcome.journal,
                first=outcome.first,
                last=outcome.last,
            )
        )
    headers = {LEDGER_POSITION: ",".join(f"{journal}:{last[journal]}" for journal in sorted(last))}
    body = msgspec.json.encode(Results(**counts, dry_run=dry_run, results=results))
    return Encoded(body, headers={} if dry_run or not last else headers)


def command_handlers(limits: Limits) -> list[HTTPRouteHandler]:
    """Every handler of commands."""
    alike = [command_handler(route, limits) for route in ROUTES]
    return [create_programme_handler(limits), *alike, purchase_batch_handler(limits)]
