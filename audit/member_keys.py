"""The keys of members against what was sealed with them: one that was changed, lost, or is there after an erasure.

Readers may not read keys, so this is for whoever may write. What was sealed is opened and forgotten at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ledger.codec import MEMBER_STREAM, decode
from ledger.events import MemberErased, MemberProfileChanged, MembersMerged, MergeUndone, SurveyAnswered
from ledger.sealing import Unsealable, unseal
from ledger.store.database import Database, PgCursor

PROBLEMS_MAX = 100
ROWS_AT_ONCE = 2_000

_SEALED = """
SELECT events.journal, journals.name, substr(originator_id, %(start)s), events.position, topic, state, key
FROM events JOIN journals USING (journal) LEFT JOIN member_keys
    ON member_keys.journal = events.journal AND member_keys.member = substr(originator_id, %(start)s)
WHERE kind = 'programme' AND topic = ANY (%(topics)s) ORDER BY events.journal, originator_id, originator_version
"""
_ENDS = """
SELECT name, substr(originator_id, %(start)s), topic, state FROM events JOIN journals USING (journal)
WHERE kind = 'programme' AND topic = ANY (%(topics)s) ORDER BY journal, events.position
"""
_KEYS = "SELECT journal, name, member FROM member_keys JOIN journals USING (journal) ORDER BY journal, member"

_Name = tuple[str, str]
"""programme, member"""


class KeyReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys there are, how many members' keys are not as they must be, and the first of those in words."""

    keys: int
    bad: int
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether every key opens what it sealed, and none is there or gone that must not be."""
        return not self.bad


def check_keys(database: Database) -> KeyReport:
    """Open everything that was sealed, with the keys as they are; a sentence for each member where that goes wrong.

    In one snapshot, while writers go on; memory grows with erasures and merges, not with events. Raises errors of
    eventsourcing.persistence when the database fails.
    """
    keys = bad = 0
    problems: list[str] = []
    with database.transaction() as cur:
        cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        erased = _Erased(cur)
        for words in _problems(cur, erased):
            bad += 1
            if bad <= PROBLEMS_MAX:
                problems.append(words)
        cur.execute("SELECT count(*) FROM member_keys")
        ((keys,),) = cur.fetchall()
    return KeyReport(keys=keys, bad=bad, problems=problems)


class _Erased:
    """Who was erased, or merged into somebody who was."""

    def __init__(self, cur: PgCursor) -> None:
        self._erased: set[_Name] = set()
        self._into: dict[_Name, str] = {}
        cur.execute(_ENDS, _parameters(MemberErased, MembersMerged, MergeUndone))
        for programme, member, topic, state in cur.fetchall():
            event = decode(topic, bytes(state))
            if isinstance(event, MemberErased):
                self._erased.add((programme, member))
            elif isinstance(event, MembersMerged) and event.side == "out":
                self._into[programme, member] = event.other
            elif isinstance(event, MergeUndone) and event.side == "in":
                self._into.pop((programme, member), None)

    def __contains__(self, name: _Name) -> bool:
        while name not in self._erased:
            if name not in self._into:
                return False
            name = name[0], self._into[name]
        return True


def _problems(cur: PgCursor, erased: _Erased) -> Iterator[str]:
    cur.execute(_KEYS)
    for journal, programme, member in cur.fetchall():
        if (programme, member) in erased:
            yield f"journal {journal}: the key of {member} is there, though it was erased: its data can be read again"
    cur.execute(f"DECLARE sealed CURSOR FOR {_SEALED}", _parameters(MemberProfileChanged, SurveyAnswered))
    told = None
    while rows := _fetch(cur):
        for journal, programme, member, position, topic, state, key in rows:
            event = decode(topic, bytes(state))
            if not isinstance(event, MemberProfileChanged | SurveyAnswered) or not event.sealed:
                continue
            if told == (journal, member) or (programme, member) in erased:
                continue
            words = _problem(programme, member, event.sealed, key and bytes(key))
            if words is not None:
                told = journal, member
                yield f"journal {journal}: the key of {member} {words}, which position {position} sealed"


def _fetch(cur: PgCursor) -> list[tuple[int, str, str, int, str, memoryview, memoryview | None]]:
    cur.execute(f"FETCH {ROWS_AT_ONCE} FROM sealed")
    return cur.fetchall()


def _problem(programme: str, member: str, sealed: bytes, key: bytes | None) -> str | None:
    if key is None:
        return "is missing, though the member was not erased: nothing opens its data"
    try:
        unseal(key, programme, member, sealed)
    except (Unsealable, ValueError):  # of another length than a key has
        return "was changed: it does not open its data"
    return None


def _parameters(*events: type) -> dict[str, object]:
    return {"start": len(MEMBER_STREAM) + 1, "topics": [event.topic for event in events]}
