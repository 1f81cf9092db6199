"""Refused messages, and trying them again."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Annotated, Any, Final, Literal

from litestar import Response
from litestar.params import QueryParameter

from consumers.rejected import open_numbers, retry
from ledger.programmes import ProgrammeInfo
from ledger.rejections import CODES
from ledger.store.database import PgCursor
from service.http.access import CARE, REFUSED
from service.http.problems import invalid, problem
from service.http.programme_reads import RefusedMessages, refused_page
from service.http.reading import POSITION_MAX, is_number
from service.web.visits import Visit, action, page

MESSAGES_SHOWN: Final = 50
RETRIED_MAX: Final = 200
"""Of one request; the next ones are tried by sending the form again."""

Status = Literal["open", "resolved", "all"]
Code = Annotated[str, QueryParameter(max_length=64)]
Number = Annotated[int, QueryParameter(ge=0, le=POSITION_MAX)]

_log = logging.getLogger(__name__)


@page("/rejected", "rejected", REFUSED)
async def rejected(
    visit: Visit,
    status: Status = "open",
    code: Code = "",
    before: Number = 0,
    tried: Number = 0,
    refused: Number = 0,
) -> Response[Any]:
    """Refused messages by status and code, newest first; `tried` and `refused` tell of the retry before."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> RefusedMessages:
        below, name = before or POSITION_MAX, info.programme.programme
        return refused_page(cursor, name, status=status, code=code, before=below, limit=MESSAGES_SHOWN)

    found = await visit.read(read)
    return visit.render(
        "rejected.html",
        found=found,
        status=status,
        code=code,
        before=before,
        codes=sorted(CODES),
        tried=tried,
        refused=refused,
        may_retry=visit.may(CARE),
        retried_max=RETRIED_MAX,
    )


@action("/rejected", "rejected", CARE, "rejected.retry")
async def retry_rejected(visit: Visit) -> Response[Any]:
    """Try one message again, as it came, or the oldest open ones of a code."""
    programme, ledger = visit.info.programme.programme, visit.backend.ledger
    code, number = visit.form.get("code", ""), visit.form.get("number", "")
    if number:
        numbers = [await _open_number(visit, number)]
    else:
        numbers = await visit.backend.in_thread(
            lambda: open_numbers(visit.backend.writers, programme=programme, code=code, limit=RETRIED_MAX)
        )
    tried = await visit.backend.in_command_thread(lambda: list(retry(ledger, numbers, programme=programme)))
    became = Counter(one.outcome.status if one.outcome else "rejected" for one in tried)
    assert visit.session is not None
    _log.info("key %s tried %d refused messages of %s again", visit.session.key.key, len(tried), programme)
    return visit.redirect(visit.url("/rejected", code=code, tried=len(tried), refused=became["rejected"] or None))


async def _open_number(visit: Visit, text: str) -> int:
    """The number of an open message of the programme. Raises Problem where it is not that."""
    if not is_number(text):
        raise invalid("number", "must be the number of a refused message", text[:20])

    def read(cursor: PgCursor, info: ProgrammeInfo) -> RefusedMessages:
        below, name = min(int(text) + 1, POSITION_MAX), info.programme.programme
        return refused_page(cursor, name, status="open", code="", before=below, limit=1)

    found = (await visit.read(read)).messages
    if not found or found[0].number != int(text):
        raise problem("NOT_FOUND", f"The programme has no open message {text}; it may have been tried again meanwhile.")
    return found[0].number


HANDLERS: Final = (rejected, retry_rejected)
