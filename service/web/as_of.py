"""The time machine: figures as of an instant as known at another, and why they became other figures since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from litestar import Response
from litestar.params import QueryParameter
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.replay import replay_member
from service.audit_runs import Busy
from service.audit_work import Replay, Restate, restated
from service.http.access import AUDIT
from service.web.audit import BUSY, begin
from service.web.figure_names import FIGURES
from service.web.instants import parse_instant
from service.web.languages import N_
from service.web.visits import Visit, action, page

MEMBER_CHARACTERS_MAX: Final = 64
NEEDED: Final = N_("This is needed.")
NO_MEMBER: Final = N_("A member's name has 1 to 64 characters, none of them a control character.")
BACKWARDS: Final = N_("This must not be before they were known first.")

Text = Annotated[str, QueryParameter(max_length=100)]


class Question(Struct, frozen=True, kw_only=True):
    """A form of the time machine: its instants, of which those not `needed` may be left empty and then are now.

    `job` has the instants as its fields; `read` answers it for a member at once.
    """

    path: str
    template: str
    instants: tuple[str, ...]
    needed: frozenset[str] = frozenset()
    job: type[Replay] | type[Restate]
    read: Callable[[PgCursor, ProgrammeInfo, str, Any], Any]


AS_OF: Final = Question(
    path="/audit/as-of",
    template="audit_as_of.html",
    instants=("as_of", "as_known_at"),
    job=Replay,
    read=lambda cursor, info, member, job: replay_member(cursor, info.journals, member, job.as_of, job.as_known_at),
)
RESTATE: Final = Question(
    path="/audit/restate",
    template="audit_restate.html",
    instants=("as_of", "known_at", "known_again_at"),
    needed=frozenset({"as_of", "known_at"}),
    job=Restate,
    read=lambda cursor, info, member, job: restated(cursor, info.journals, member, job),
)


@page("/audit/as-of", "audit", AUDIT, "audit.as-of")
async def as_of(visit: Visit, member: Text = "", as_of: Text = "", as_known_at: Text = "") -> Response[Any]:
    """The form, and where it names a member the figures of it."""
    return await _shown(visit, AS_OF, {"member": member, "as_of": as_of, "as_known_at": as_known_at})


@page("/audit/restate", "audit", AUDIT, "audit.restate")
async def restate(
    visit: Visit, member: Text = "", as_of: Text = "", known_at: Text = "", known_again_at: Text = ""
) -> Response[Any]:
    """The form, and where it names a member what happened in between."""
    given = {"member": member, "as_of": as_of, "known_at": known_at, "known_again_at": known_again_at}
    return await _shown(visit, RESTATE, given)


@action("/audit/as-of", "audit", AUDIT, "audit.as-of.ask")
async def ask_as_of(visit: Visit) -> Response[Any]:
    """To the figures of a member, or begin a run for those of the programme."""
    return await _asked(visit, AS_OF)


@action("/audit/restate", "audit", AUDIT, "audit.restate.ask")
async def ask_restate(visit: Visit) -> Response[Any]:
    """To the effects on a member, or begin a run for those on the programme."""
    return await _asked(visit, RESTATE)


async def _asked(visit: Visit, question: Question) -> Response[Any]:
    given = {name: visit.form.get(name, "").strip() for name in ("member", *question.instants)}
    job, errors = _understood(visit, question, given)
    if job is None:
        return await _shown(visit, question, given, errors)
    if given["member"]:
        return visit.redirect(visit.url(question.path, **given))
    try:
        return await begin(visit, job)
    except Busy:
        return await _shown(visit, question, given, {"run": BUSY}, 409)


async def _shown(
    visit: Visit, question: Question, given: dict[str, str], errors: dict[str, str] | None = None, status: int = 400
) -> Response[Any]:
    """The form with what was given and what is wrong with it, or with the figures of a member."""
    job = found = None
    if errors is None and any(given.values()):
        job, errors = _understood(visit, question, given)
    if job is not None and given["member"]:
        found = await visit.read(lambda cursor, info: question.read(cursor, info, given["member"], job))
    answer: Response[Any] = visit.render(
        question.template,
        status if errors else 200,
        given=given,
        errors=errors or {},
        job=job,
        found=found,
        figure_names=FIGURES,
    )
    return answer


def _understood(
    visit: Visit, question: Question, given: dict[str, str]
) -> tuple[Replay | Restate | None, dict[str, str]]:
    """What is asked for, or else what is wrong by field."""
    now = datetime.now(UTC)
    errors: dict[str, str] = {}
    instants: dict[str, datetime] = {}
    for name in question.instants:
        try:
            text = given[name]
            instants[name] = parse_instant(text, visit.info.programme.time_zone) if text else now
        except ValueError as error:
            errors[name] = str(error)
    errors |= {name: NEEDED for name in question.needed if not given[name]}
    if len(given["member"]) > MEMBER_CHARACTERS_MAX or not given["member"].isprintable():
        errors["member"] = NO_MEMBER
    if not errors and question is RESTATE and instants["known_again_at"] < instants["known_at"]:
        errors["known_again_at"] = BACKWARDS
    return (None, errors) if errors else (question.job(**instants), {})


HANDLERS: Final = (as_of, restate, ask_as_of, ask_restate)
