"""What became of every line of a file: found in the log and among the refused, whatever was counted at the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import IO, Literal

from msgspec import Struct

from consumers.files import Line, read_lines
from consumers.inbound import MESSAGE_BYTES_MAX, decode
from ledger.commands import AnyCommand, MemberCommand
from ledger.programmes import ProgrammeInfo, journal_of, read_programme
from ledger.store.database import PgCursor
from ledger.store.journal import find_commands
from ledger.submissions import Malformed
from ledger.transaction import command_key

LINES_AT_ONCE = 4_000
Place = tuple[int, bytes]


class LineTrace(Struct, frozen=True, kw_only=True):
    """A line: blank; refused with its `code`; recorded, at positions `first` to `last` of `journal`; or missing."""

    line: int
    became: Literal["blank", "refused", "recorded", "missing"]
    source: str = ""
    id: str = ""
    code: str = ""
    journal: int = 0
    first: int = 0
    last: int = 0


class _Read(Struct, frozen=True):
    line: Line
    command: AnyCommand | Malformed
    digest: str


def trace_file(cur: PgCursor, file: IO[bytes], programme: str) -> Iterator[LineTrace]:
    """Every line of a file of messages, in order; `programme` is for those that name none. Memory is bounded.

    A line counts as refused where it is kept as refused and was not accepted since; that comes before being recorded,
    for the same source and id may be recorded with another content. A message of a member that was erased is missing
    where it had been refused: what was kept of it is gone.
    """
    programmes: dict[str, ProgrammeInfo | None] = {}
    lines: list[Line] = []
    for more in read_lines(file):
        lines += more
        while len(lines) >= LINES_AT_ONCE:
            yield from _trace(cur, lines[:LINES_AT_ONCE], programme, programmes)
            lines = lines[LINES_AT_ONCE:]
    yield from _trace(cur, lines, programme, programmes)


def _trace(
    cur: PgCursor, lines: Sequence[Line], programme: str, programmes: dict[str, ProgrammeInfo | None]
) -> Iterator[LineTrace]:
    found = {
        line.number: _Read(line, _command(line, programme), blake2b(line.body, digest_size=16).hexdigest())
        for line in lines
        if line.body and not line.body.isspace()
    }
    for name in {read.command.programme for read in found.values()} - programmes.keys():
        programmes[name] = read_programme(cur, name)
    refused = _refused(cur, list(found.values()))
    places = {number: place for number, read in found.items() if (place := _place(read.command, programmes))}
    recorded: dict[Place, tuple[bytes, int, int]] = {}
    for journal in sorted({journal for journal, _ in places.values()}):
        keys = [key for other, key in places.values() if other == journal]
        recorded.update(((journal, key), row) for key, row in find_commands(cur, journal, keys).items())
    for line in lines:
        read = found.get(line.number)
        if read is None:
            yield LineTrace(line=line.number, became="blank")
            continue
        command = read.command
        code = refused.get((command.programme, read.digest))
        place = places.get(line.number)
        if code is not None:
            yield LineTrace(line=line.number, became="refused", source=command.source, id=command.id, code=code)
        elif place in recorded:
            _, first, events = recorded[place]
            yield LineTrace(
                line=line.number,
                became="recorded",
                source=command.source,
                id=command.id,
                journal=place[0],
                first=first,
                last=first + events - 1,
            )
        else:
            yield LineTrace(line=line.number, became="missing", source=command.source, id=command.id)


def _command(line: Line, programme: str) -> AnyCommand | Malformed:
    return decode(line.body[: MESSAGE_BYTES_MAX + 1], programme=programme)  # what is too large is refused unread


def _place(command: AnyCommand | Malformed, programmes: dict[str, ProgrammeInfo | None]) -> Place | None:
    """The journal and the key under which a command is recorded; None where it cannot be."""
    info = programmes[command.programme]
    if isinstance(command, Malformed) or info is None:
        return None
    journal = journal_of(info, command.member) if isinstance(command, MemberCommand) else info.journals[0]
    return journal, command_key(command.source, command.id)


def _refused(cur: PgCursor, found: Sequence[_Read]) -> dict[tuple[str, str], str]:
    """The codes of what stands as refused, by programme and digest."""
    cur.execute(
        "SELECT programme, replace(digest::text, '-', ''), code FROM rejected"
        " JOIN unnest(%s::text[], %s::uuid[]) wanted (programme, digest) USING (programme, digest)"
        " WHERE status = 'open'",
        ([read.command.programme for read in found], [read.digest for read in found]),
    )
    return {(programme, digest): code for programme, digest, code in cur.fetchall()}
