"""The audit page: verifying with its progress, signed checkpoints, and proofs to take away."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Annotated, Any, Final

from litestar import Response
from litestar.params import QueryParameter

from audit.checkpoints import StoredCheckpoint, checkpoint_of_size, newest_checkpoints
from audit.proofs import ProofError, prove_consistency, prove_event
from audit.verify_proof import VerifierKey
from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from service.audit_runs import Busy, read_run, read_verifications
from service.audit_work import Job, Replay, Restate, Verify
from service.http.access import AUDIT
from service.http.problems import problem
from service.http.reading import is_number
from service.web.checkpoint_rows import checkpoint_row
from service.web.figure_names import FIGURES
from service.web.languages import N_
from service.web.visits import Visit, action, page

CHECKPOINTS_SHOWN: Final = 50
VERIFICATIONS_SHOWN: Final = 10
LOOK_AGAIN_SECONDS: Final = 2
NUMBER_WANTED: Final = N_("Write a whole number, 1 or more.")
JOURNAL_WANTED: Final = N_("This is not a journal of the programme.")
BUSY: Final = N_("The server works at another run. Try again when that has ended.")
FAILURES: Final = {
    "stopped": N_("The server was stopped before it came to an end."),
    "too-long": N_("It took longer than an hour, and was ended."),
    "ended": N_("Its process ended by itself; the log of the server may say more."),
    "lost": N_("The server that worked at it is gone."),
}
TEMPLATES: Final = {Verify: "audit_verified.html", Replay: "audit_replayed.html", Restate: "audit_restated.html"}

Text = Annotated[str, QueryParameter(max_length=100)]


@page("/audit", "audit", AUDIT)
async def audit(visit: Visit) -> Response[Any]:
    """What can be checked here, and what was."""
    return await _audit_page(visit)


async def _audit_page(
    visit: Visit, status: int = 200, errors: dict[str, str] | None = None, given: dict[str, str] | None = None
) -> Response[Any]:
    programme = visit.info.programme.programme

    def read(cursor: PgCursor, info: ProgrammeInfo) -> dict[str, Any]:
        return {
            "checkpoints": newest_checkpoints(cursor, info.journals, CHECKPOINTS_SHOWN),
            "verifications": read_verifications(cursor, programme, VERIFICATIONS_SHOWN),
        }

    found = await visit.read(read)
    keys = visit.backend.verifier_keys
    answer: Response[Any] = visit.render(
        "audit.html",
        status,
        journals=visit.info.journals,
        checkpoints=_rows(found["checkpoints"], programme, keys),
        checkpoints_max=CHECKPOINTS_SHOWN,
        verifications=found["verifications"],
        failures=FAILURES,
        keys=[str(key) for key in keys],
        errors=errors or {},
        given=given or {},
    )
    return answer


def _rows(found: Sequence[StoredCheckpoint], programme: str, keys: Sequence[VerifierKey]) -> list[Any]:
    return [checkpoint_row(stored, programme, keys) for stored in found]


# --- runs -----------------------------------------------------------------------------------------------------------


@action("/audit/verify", "audit", AUDIT, "audit.verify")
async def verify_now(visit: Visit) -> Response[Any]:
    """Begin to verify the programme, and go to where its progress is."""
    try:
        return await begin(visit, Verify(keys=[str(key) for key in visit.backend.verifier_keys]))
    except Busy:
        return await _audit_page(visit, 409, {"verify": BUSY})


async def begin(visit: Visit, job: Job) -> Response[Any]:
    """Begin a run, and go to its page. Raises Busy."""
    assert visit.session is not None
    key = visit.session.key
    run = await visit.backend.in_thread(lambda: visit.backend.audits.start(visit.info, key, job))
    return visit.redirect(visit.url(f"/audit/runs/{run}"))


@page("/audit/runs/{run:str}", "audit", AUDIT, "audit.run")
async def run_page(visit: Visit, run: str) -> Response[Any]:
    """How far a run is, or what came of it; while it runs the page loads itself again, without a script."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Any:
        return read_run(cursor, info.programme.programme, int(run)) if is_number(run) else None

    found = await visit.read(read)
    if found is None:
        raise problem("NOT_FOUND", "There is no such run; those of long ago are not kept.")
    headers = {"Refresh": str(LOOK_AGAIN_SECONDS)} if found.state == "running" else {}
    answer: Response[Any] = visit.render(
        TEMPLATES[type(found.job)],
        200,
        headers,
        run=found,
        job=found.job,
        result=found.result,
        failures=FAILURES,
        figure_names=FIGURES,
        again_seconds=LOOK_AGAIN_SECONDS,
    )
    return answer


# --- proofs ---------------------------------------------------------------------------------------------------------


@page("/audit/proofs/event", "audit", AUDIT, "audit.proof-of-event")
async def proof_of_event(visit: Visit, journal: Text = "", position: Text = "") -> Response[Any]:
    """The proof that an event is in the newest checkpoint of its journal, as a file."""
    given = {"event_journal": journal, "event_position": position}
    return await _proof(visit, given, prove_event, "position", f"event-{journal}-{position}.json")


@page("/audit/proofs/consistency", "audit", AUDIT, "audit.proof-of-consistency")
async def proof_of_consistency(visit: Visit, journal: Text = "", first: Text = "", second: Text = "") -> Response[Any]:
    """The proof that a checkpoint continues an earlier one, as a file."""
    given = {"consistency_journal": journal, "consistency_first": first, "consistency_second": second}
    name = f"consistency-{journal}-{first}-{second}.json"
    return await _proof(visit, given, prove_consistency, "second", name)


async def _proof(
    visit: Visit, given: dict[str, str], prove: Callable[..., dict[str, Any]], blamed: str, filename: str
) -> Response[Any]:
    """What `prove` gives for the numbers in `given`, or the page with what is wrong beside the field."""
    errors = {field: NUMBER_WANTED for field, text in given.items() if not is_number(text) or int(text) == 0}
    kind = next(iter(given)).partition("_")[0]
    journal = f"{kind}_journal"
    if journal not in errors and int(given[journal]) not in visit.info.journals:
        errors[journal] = JOURNAL_WANTED
    if errors:
        return await _audit_page(visit, 400, errors, given)
    numbers = [int(text) for text in given.values()]
    try:
        document = await visit.read(lambda cursor, _: prove(cursor, *numbers))
    except ProofError as error:
        return await _audit_page(visit, 404, {f"{kind}_{blamed}": str(error)}, given)
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    return _file(text.encode(), filename, "application/json")


@page("/audit/checkpoints/{journal:str}/{size:str}", "audit", AUDIT, "audit.checkpoint")
async def note(visit: Visit, journal: str, size: str) -> Response[Any]:
    """The signed note of a checkpoint, as witnesses take it."""
    found = None
    if is_number(journal) and is_number(size) and int(journal) in visit.info.journals:
        found = await visit.read(lambda cursor, _: checkpoint_of_size(cursor, int(journal), int(size)))
    if found is None:
        raise problem("NOT_FOUND", "There is no such checkpoint.")
    return _file(found.note.encode(), f"checkpoint-{journal}-{size}.txt", "text/plain; charset=utf-8")


@page("/audit/verify_proof.py", "audit", AUDIT, "audit.verifier")
async def verifier(visit: Visit) -> Response[Any]:
    """The program that checks proofs without a ledger."""
    return _file(files("audit").joinpath("verify_proof.py").read_bytes(), "verify_proof.py", "text/x-python")


def _file(content: bytes, name: str, media_type: str) -> Response[Any]:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


HANDLERS: Final = (audit, verify_now, run_page, proof_of_event, proof_of_consistency, note, verifier)
