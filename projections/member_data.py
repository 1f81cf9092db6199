"""What is known of members: their attributes, which make segments, and since when each kind of data has been there.

Personal data are sealed and cannot be read here; that they came, and when, can. Rows are only written, never read
before a batch, so that enrolments in bulk cost little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.copying import NULL, copy_rows
from projections.movements import later, utc


class _Enrolled(Struct, gc=False):
    occurred_at: str
    attributes: dict[str, str] = {}


class _ProfileChanged(Struct, gc=False):
    occurred_at: str
    sealed: str = ""
    attributes: dict[str, str | None] = {}


class _Merged(Struct, gc=False):
    side: str


class ProfileDelta(Struct, gc=False):
    """What a batch does to a member's row: NULL leaves a column as it is, the newest instant wins."""

    status: str = NULL
    enrolled_at: str = NULL
    personal_at: str = NULL
    attributes_at: str = NULL


class Changes(Struct, gc=False):
    """What a batch does: to members' rows, to (member, attribute) (NULL removes it), and whose data were erased."""

    profiles: dict[str, ProfileDelta] = {}
    attributes: dict[tuple[str, str], str] = {}
    erased: set[str] = set()

    def profile(self, member: str) -> ProfileDelta:
        """The delta of a member's row."""
        if member not in self.profiles:
            self.profiles[member] = ProfileDelta()
        return self.profiles[member]


def _enrolled(changes: Changes, member: str, event: _Enrolled) -> None:
    delta = changes.profile(member)
    delta.status, delta.enrolled_at = "open", event.occurred_at
    if event.attributes:
        _set_attributes(changes, member, event.occurred_at, event.attributes)


def _profile_changed(changes: Changes, member: str, event: _ProfileChanged) -> None:
    delta = changes.profile(member)
    if event.sealed:
        delta.personal_at = _newest(delta.personal_at, event.occurred_at)
    if event.attributes:
        _set_attributes(changes, member, event.occurred_at, event.attributes)


def _set_attributes(changes: Changes, member: str, at: str, attributes: dict[str, Any]) -> None:
    delta = changes.profile(member)
    delta.attributes_at = _newest(delta.attributes_at, at)
    for attribute, value in attributes.items():
        changes.attributes[member, attribute] = NULL if value is None else value


def _newest(known: str, at: str) -> str:
    return utc(at) if known is NULL else later(known, utc(at))


def _closed(changes: Changes, member: str, _: Any) -> None:
    changes.profile(member).status = "closed"


def _erased(changes: Changes, member: str, _: Any) -> None:
    changes.profile(member).status = "erased"
    changes.erased.add(member)


def _merged(changes: Changes, member: str, event: _Merged) -> None:
    if event.side == "out":
        changes.profile(member).status = "merged"


def _merge_undone(changes: Changes, member: str, event: _Merged) -> None:
    if event.side == "in":
        changes.profile(member).status = "open"


_READERS: dict[str, tuple[Callable[[Any], Any], Callable[[Changes, str, Any], None]]] = {
    topic: (msgspec.json.Decoder(fields).decode, read)
    for topic, fields, read in (
        ("member-enrolled.v1", _Enrolled, _enrolled),
        ("member-profile-changed.v1", _ProfileChanged, _profile_changed),
        ("member-closed.v1", Struct, _closed),
        ("member-erased.v1", Struct, _erased),
        ("members-merged.v1", _Merged, _merged),
        ("merge-undone.v1", _Merged, _merge_undone),
    )
}


def member_changes(batch: Batch) -> Changes:
    """What a batch does to what is known of members."""
    changes = Changes()
    for row in batch.rows:
        if row[3] in _READERS:
            decode, read = _READERS[row[3]]
            read(changes, row[1], decode(row[4]))
    return changes


class MemberData:
    """The projection of members' attributes and of the age of their data.

    Attributes of a closed member stay, because what it bought was bought in its segments; those of an erased one go.
    """

    name = "member_data"
    version = 1
    tables: tuple[str, ...] = ("member_profiles", "member_attributes")
    topics = frozenset(_READERS)

    def prepare(self, cur: PgCursor) -> None:
        cur.execute(_STAGING)

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        """Nothing: changes do not depend on what was there."""

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Changes:
        return batch.view(member_changes)

    def write(self, cur: PgCursor, journal: int, changes: Changes) -> None:
        profiles = [
            (member, delta.status, delta.enrolled_at, delta.personal_at, delta.attributes_at)
            for member, delta in changes.profiles.items()
        ]
        attributes = [(*key, value) for key, value in changes.attributes.items()]
        copy_rows(cur, "staged_profiles", "member, status, enrolled_at, personal_at, attributes_at", profiles)
        cur.execute(_MERGE_PROFILES, (journal, journal))
        copy_rows(cur, "staged_attributes", "member, attribute, value", attributes)
        cur.execute(_MERGE_ATTRIBUTES, (journal, journal))
        if changes.erased:
            cur.execute(
                "DELETE FROM member_attributes WHERE journal = %s AND member = ANY (%s)",
                (journal, list(changes.erased)),
            )


_STAGING = """
SET LOCAL client_min_messages = warning;  -- IF NOT EXISTS would tell in every batch but the first
CREATE TEMPORARY TABLE IF NOT EXISTS staged_profiles (
    member text COLLATE "C", status text, enrolled_at timestamptz, personal_at timestamptz, attributes_at timestamptz
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS staged_attributes (
    member text COLLATE "C", attribute text COLLATE "C", value text COLLATE "C"
) ON COMMIT DELETE ROWS;
DELETE FROM staged_profiles;  -- of a batch before in the same transaction
DELETE FROM staged_attributes
"""
_MERGE_PROFILES = """
MERGE INTO member_profiles known USING staged_profiles staged ON known.journal = %s AND known.member = staged.member
WHEN MATCHED THEN UPDATE SET
    status = coalesce(staged.status, known.status),
    personal_at = CASE WHEN staged.status = 'erased' THEN NULL
        ELSE greatest(known.personal_at, staged.personal_at) END,
    attributes_at = CASE WHEN staged.status = 'erased' THEN NULL
        ELSE greatest(known.attributes_at, staged.attributes_at) END
WHEN NOT MATCHED THEN INSERT VALUES (%s, staged.member, staged.status, staged.enrolled_at,
    CASE WHEN staged.status <> 'erased' THEN staged.personal_at END,
    CASE WHEN staged.status <> 'erased' THEN staged.attributes_at END)
"""
_MERGE_ATTRIBUTES = """
MERGE INTO member_attributes known USING staged_attributes staged
ON known.journal = %s AND known.member = staged.member AND known.attribute = staged.attribute
WHEN MATCHED AND staged.value IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET value = staged.value
WHEN NOT MATCHED AND staged.value IS NOT NULL THEN
    INSERT VALUES (%s, staged.member, staged.attribute, staged.value)
"""
