"""The terms of a programme: their versions, and the rules of each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response
from litestar.params import PathParameter
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from ledger.terms import decode_terms
from service.http.access import FIGURES
from service.http.problems import problem
from service.web.visits import Visit, page

VERSIONS_SHOWN: Final = 200


class Published(Struct, frozen=True, kw_only=True):
    """A version of the terms, with its document as it was published."""

    version: int
    effective_from: datetime
    published_at: datetime
    document: bytes


def read_terms(cursor: PgCursor, programme: str, version: int | None, limit: int) -> list[Published]:
    """Versions of the terms, newest first; only one where it is named."""
    cursor.execute(
        "SELECT version, effective_from, published_at, document FROM terms"
        " WHERE programme = %s AND (%s::integer IS NULL OR version = %s) ORDER BY version DESC LIMIT %s",
        (programme, version, version, limit),
    )
    return [
        Published(version=number, effective_from=effective_from, published_at=published_at, document=bytes(document))
        for number, effective_from, published_at, document in cursor.fetchall()
    ]


@page("/terms", "terms", FIGURES)
async def terms(visit: Visit) -> Response[Any]:
    """The versions of the terms."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[Published]:
        return read_terms(cursor, info.programme.programme, None, VERSIONS_SHOWN)

    versions = [(found, decode_terms(found.document).name) for found in await visit.read(read)]
    return visit.render("terms.html", versions=versions)


@page("/terms/{version:int}", "terms", FIGURES, "terms-version")
async def terms_version(visit: Visit, version: Annotated[int, PathParameter(ge=1, le=2**31 - 1)]) -> Response[Any]:
    """One version: its rules, and the document as it was published."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[Published]:
        return read_terms(cursor, info.programme.programme, version, 1)

    found = await visit.read(read)
    if not found:
        raise problem("NOT_FOUND", f"The programme has no version {version} of its terms.")
    document = decode_terms(found[0].document)
    conditions = [msgspec.json.encode(rule.when).decode() for rule in document.earning.multipliers]
    return visit.render(
        "terms_version.html",
        published=found[0],
        terms=document,
        rules=list(zip(document.earning.multipliers, conditions, strict=True)),
        document=msgspec.json.format(found[0].document, indent=2).decode(),
    )


HANDLERS: Final = (terms, terms_version)
