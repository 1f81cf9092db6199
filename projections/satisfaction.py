"""Satisfaction: answers to surveys, complaints, follow-ups and purchases, kept as rows and counted by day.

A day is that of the programme's time zone. Every answer is counted four times: for the programme, and for the channel,
the store and the touchpoint that it names; so a timeline by any one of them reads a few rows a day. A complaint that is
resolved counts on the day it was, and a follow-up on the day it was due, both where they were opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw, Struct, field

from ledger.events import BaselineFrozen
from ledger.store.database import PgCursor
from projections import satisfaction_tables as tables
from projections.batch import Batch, Row
from projections.copying import NULL
from projections.movements import later, utc
from projections.survey_scoring import DETRACTOR_MAX, MILLION, PROMOTER_MIN, Scale, decimal, satisfied, score
from projections.trading import PURCHASE_TOPIC, Purchase, day_of, iso_day, purchases, time_zone_of

PURCHASES, COMPLAINTS, RESOLVED, RESOLUTION_MICROSECONDS, FOLLOW_UPS, IN_TIME, LATE = range(7)
ANSWERS, SCORED, PROMOTERS, DETRACTORS, SATISFIED, WEIGHTED, SCORE_SUM, SCORE_SQUARES = range(8)

Place: TypeAlias = tuple[tuple[str, str], ...]
"""Under which keys something counts: ("programme", ""), ("channel", its channel) and so on."""
Opened: TypeAlias = tuple[int, Place]
"""An open complaint or follow-up: the position it was opened at, and where it counts."""


class MemberChange(Struct, gc=False):
    """What a batch says of a member: its status and since when it ended, if that changed; its newest purchase.

    `merged_into` is NULL where it did not change, empty where the member is not merged any more.
    """

    status: str | None = None
    ended_at: str = NULL
    merged_into: str = NULL
    last_purchase_at: str | None = None


class Changes(Struct):
    """What a batch does: rows to add, rows to update, and counts to add."""

    answers: list[tuple[Any, ...]] = field(default_factory=list)
    latest: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    answer_days: dict[tuple[Any, ...], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 8))
    service_days: dict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 7))
    complaints: list[tuple[Any, ...]] = field(default_factory=list)
    resolutions: list[tuple[Any, ...]] = field(default_factory=list)
    follow_ups: list[tuple[Any, ...]] = field(default_factory=list)
    completions: list[tuple[Any, ...]] = field(default_factory=list)
    members: dict[str, MemberChange] = field(default_factory=lambda: defaultdict(MemberChange))
    baselines: list[tuple[Any, ...]] = field(default_factory=list)


# --- the fields that are read ---------------------------------------------------------------------------------------


class _Event(Struct, gc=False, kw_only=True):
    occurred_at: str
    source: str
    id: str
    touchpoint: str = ""
    channel: str = ""
    store: str = ""


class _Answered(_Event, gc=False, kw_only=True):
    instrument: str
    answers: Raw
    scale: Scale
    purchase: str | None = None
    survey: str | None = None
    weights: dict[str, int] = {}


class _ComplaintOpened(_Event, gc=False, kw_only=True):
    category: str = ""
    purchase: str | None = None


class _ComplaintResolved(_Event, gc=False, kw_only=True):
    complaint: str
    opened_at: str
    outcome: str = ""


class _FollowUpScheduled(_Event, gc=False, kw_only=True):
    due_at: str
    reason: str = ""


class _FollowUpCompleted(_Event, gc=False, kw_only=True):
    follow_up: str
    due_at: str
    outcome: str = ""


class _Merged(_Event, gc=False, kw_only=True):
    side: str
    other: str


_decode_answers = msgspec.json.Decoder(dict[str, int | float | str]).decode
_DECODERS: dict[str, Callable[[str], Any]] = {
    topic: msgspec.json.Decoder(fields).decode
    for topic, fields in (
        ("survey-answered.v1", _Answered),
        ("complaint-opened.v1", _ComplaintOpened),
        ("complaint-resolved.v1", _ComplaintResolved),
        ("follow-up-scheduled.v1", _FollowUpScheduled),
        ("follow-up-completed.v1", _FollowUpCompleted),
        ("member-enrolled.v1", _Event),
        ("member-closed.v1", _Event),
        ("member-erased.v1", _Event),
        ("members-merged.v1", _Merged),
        ("merge-undone.v1", _Merged),
        (BaselineFrozen.topic, BaselineFrozen),
    )
}


def _decoded(batch: Batch) -> list[tuple[Row, Any]]:
    decoders = _DECODERS
    return [(row, decoders[row[3]](row[4])) for row in batch.rows if row[3] in decoders]  # type: ignore[arg-type]


class Satisfaction:
    """The projection behind `projections.timelines` and `projections.charts`. It adds, and it looks up what a
    resolution or a completion is about.
    """

    name = "satisfaction"
    version = 1
    tables: tuple[str, ...] = tables.TABLES
    topics = frozenset({*_DECODERS, PURCHASE_TOPIC})

    def prepare(self, cur: PgCursor) -> None:
        tables.prepare(cur)

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        """The time zone, once; and where the complaints and follow-ups count that end in the batch."""
        if "time_zone" not in memory:
            memory["time_zone"] = time_zone_of(cur, batch.journal)
        found = batch.view(_decoded)
        ended = [(row[1], event.complaint) for row, event in found if isinstance(event, _ComplaintResolved)]
        memory["complaints"] = _opened(tables.read_complaints(cur, batch, ended))
        ended = [(row[1], event.follow_up) for row, event in found if isinstance(event, _FollowUpCompleted)]
        memory["follow_ups"] = _opened(tables.read_follow_ups(cur, batch, ended))

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Changes:
        fold = _Fold(memory["time_zone"], memory.pop("complaints"), memory.pop("follow_ups"), Changes())
        for row, event in batch.view(_decoded):
            _FOLDS[row[3]](fold, row, event)
        _count_purchases(fold, batch.view(purchases))
        return fold.changes

    def write(self, cur: PgCursor, journal: int, changes: Changes) -> None:
        tables.write_rows(cur, journal, "survey_answers", changes.answers)
        tables.put_latest(cur, journal, changes.latest.values())
        tables.add_days(
            cur,
            journal,
            (
                (*key, *sums[:SCORE_SUM], decimal(sums[SCORE_SUM]), decimal(sums[SCORE_SQUARES], 12))
                for key, sums in changes.answer_days.items()
            ),
            (
                (*key, *sums[:RESOLUTION_MICROSECONDS], decimal(sums[RESOLUTION_MICROSECONDS]), *sums[FOLLOW_UPS:])
                for key, sums in changes.service_days.items()
            ),
        )
        tables.write_rows(cur, journal, "complaints", changes.complaints)
        tables.end_rows(cur, journal, "complaints", changes.resolutions)
        tables.write_rows(cur, journal, "follow_ups", changes.follow_ups)
        tables.end_rows(cur, journal, "follow_ups", changes.completions)
        tables.merge_members(
            cur,
            journal,
            (
                (member, change.status or NULL, change.ended_at, change.merged_into, change.last_purchase_at or NULL)
                for member, change in changes.members.items()
            ),
        )
        tables.write_rows(cur, journal, "baselines", changes.baselines)


def _opened(rows: Iterable[tuple[str, str, int, str, str, str]]) -> dict[tuple[str, str], Opened]:
    return {
        (member, id): (position, _place(channel, store, touchpoint))
        for member, id, position, channel, store, touchpoint in rows
    }


def _place(channel: str, store: str, touchpoint: str) -> Place:
    return (("programme", ""), ("channel", channel), ("store", store), ("touchpoint", touchpoint))


# --- the fold -------------------------------------------------------------------------------------------------------


class _Fold(NamedTuple):
    """A batch being folded: the time zone, what is open by member and id, and the changes so far."""

    time_zone: str
    complaints: dict[tuple[str, str], Opened]
    follow_ups: dict[tuple[str, str], Opened]
    changes: Changes

    def day(self, instant: str) -> str:
        try:
            return iso_day(day_of(utc(instant), self.time_zone))
        except OverflowError:  # at either end of the calendar, such as a follow-up due in the year 9999
            return instant[:10]

    def count(self, place: Place, day: str, what: int, number: int = 1) -> None:
        days = self.changes.service_days
        for per, value in place:
            days[per, value, day][what] += number


def _answered(fold: _Fold, row: Row, event: _Answered) -> None:
    position, member, changes = row[0], row[1], fold.changes
    day, instrument, scale = fold.day(event.occurred_at), event.instrument, event.scale
    scored = score(instrument, _decode_answers(event.answers), scale, event.weights)
    happy = scored is not None and satisfied(instrument, scored, scale)
    weighted = scored is not None and instrument == "ACSI" and bool(event.weights)
    text, state = (NULL, NULL) if scored is None else (decimal(scored), happy)
    changes.answers.append(
        (
            member, position, day, event.occurred_at, instrument, _or_null(event.survey), text, state, weighted,
            *scale,
            bytes(event.answers).decode(), event.touchpoint, event.channel, event.store, _or_null(event.purchase),
        )
    )  # fmt: skip
    for per, value in _place(event.channel, event.store, event.touchpoint):
        sums = changes.answer_days[per, value, day, instrument, *scale]
        sums[ANSWERS] += 1
        if scored is not None:
            sums[SCORED] += 1
            sums[PROMOTERS] += instrument == "NPS" and scored >= PROMOTER_MIN * MILLION
            sums[DETRACTORS] += instrument == "NPS" and scored <= DETRACTOR_MAX * MILLION
            sums[SATISFIED] += happy
            sums[WEIGHTED] += weighted
            sums[SCORE_SUM] += scored
            sums[SCORE_SQUARES] += scored * scored
    if scored is not None:
        at = utc(event.occurred_at)
        known = changes.latest.get((member, instrument))
        if known is None or later(known[4], at) == at:
            changes.latest[member, instrument] = (member, instrument, position, day, at, text, state, *scale)


def _complaint_opened(fold: _Fold, row: Row, event: _ComplaintOpened) -> None:
    day, place = fold.day(event.occurred_at), _place(event.channel, event.store, event.touchpoint)
    fold.complaints[row[1], event.id] = (row[0], place)
    fold.count(place, day, COMPLAINTS)
    fold.changes.complaints.append(
        (
            row[1], event.id, row[0], event.source, event.category, event.touchpoint, event.channel, event.store,
            _or_null(event.purchase), event.occurred_at, day,
        )
    )  # fmt: skip


def _complaint_resolved(fold: _Fold, row: Row, event: _ComplaintResolved) -> None:
    day = fold.day(event.occurred_at)
    position, place = fold.complaints[row[1], event.complaint]
    took = datetime.fromisoformat(event.occurred_at) - datetime.fromisoformat(event.opened_at)
    fold.count(place, day, RESOLVED)
    fold.count(place, day, RESOLUTION_MICROSECONDS, took // timedelta(microseconds=1))
    fold.changes.resolutions.append((row[1], event.complaint, position, event.occurred_at, day, event.outcome))


def _follow_up_scheduled(fold: _Fold, row: Row, event: _FollowUpScheduled) -> None:
    due_day, place = fold.day(event.due_at), _place(event.channel, "", event.touchpoint)
    fold.follow_ups[row[1], event.id] = (row[0], place)
    fold.count(place, due_day, FOLLOW_UPS)
    fold.changes.follow_ups.append(
        (
            row[1], event.id, row[0], event.source, event.reason, event.touchpoint, event.channel, event.occurred_at,
            event.due_at, due_day,
        )
    )  # fmt: skip


def _follow_up_completed(fold: _Fold, row: Row, event: _FollowUpCompleted) -> None:
    position, place = fold.follow_ups[row[1], event.follow_up]
    in_time = datetime.fromisoformat(event.occurred_at) <= datetime.fromisoformat(event.due_at)
    fold.count(place, fold.day(event.due_at), IN_TIME if in_time else LATE)
    fold.changes.completions.append(
        (row[1], event.follow_up, position, event.occurred_at, fold.day(event.occurred_at), event.outcome)
    )


def _count_purchases(fold: _Fold, found: Iterable[tuple[Row, Purchase]]) -> None:
    """No purchase names a touchpoint: the rates of touchpoints are over the purchases of the programme."""
    days, members = fold.changes.service_days, fold.changes.members
    for row, event in found:
        at = utc(event.occurred_at)
        day = fold.day(at)
        days["programme", "", day][PURCHASES] += 1
        days["channel", event.channel, day][PURCHASES] += 1
        days["store", event.store, day][PURCHASES] += 1
        member = members[row[1]]
        known = member.last_purchase_at
        member.last_purchase_at = at if known is None else later(known, at)


def _opens(fold: _Fold, row: Row, event: _Event) -> None:
    _set_status(fold, row[1], "open")


def _ends_as(status: str) -> Callable[[_Fold, Row, _Event], None]:
    def ends(fold: _Fold, row: Row, event: _Event) -> None:
        _set_status(fold, row[1], status, ended_at=event.occurred_at)

    return ends


def _merged(fold: _Fold, row: Row, event: _Merged) -> None:
    if event.side == "out":
        _set_status(fold, row[1], "merged", merged_into=event.other)


def _merge_undone(fold: _Fold, row: Row, event: _Merged) -> None:
    if event.side == "in":
        _set_status(fold, row[1], "open")


def _set_status(fold: _Fold, member: str, status: str, ended_at: str = NULL, merged_into: str = "") -> None:
    change = fold.changes.members[member]
    if status != "erased":  # an erased member stays with the one that it was merged into
        change.merged_into = merged_into
    change.status, change.ended_at = status, ended_at


def _baseline_frozen(fold: _Fold, row: Row, event: BaselineFrozen) -> None:
    per, value = next(
        ((per, value) for per in ("channel", "store", "touchpoint") if (value := getattr(event, per)) is not None),
        ("programme", ""),
    )
    fold.changes.baselines.append(
        (
            event.chart, event.version, event.kind, event.figure, event.period, per, value, event.from_on,
            event.until_on, event.points, event.centre, _or_null(event.sigma), event.occurred_at.astimezone(UTC),
        )
    )  # fmt: skip


def _or_null(value: str | None) -> str:
    return NULL if value is None else value


_FOLDS: dict[str, Callable[[_Fold, Row, Any], None]] = {
    "survey-answered.v1": _answered,
    "complaint-opened.v1": _complaint_opened,
    "complaint-resolved.v1": _complaint_resolved,
    "follow-up-scheduled.v1": _follow_up_scheduled,
    "follow-up-completed.v1": _follow_up_completed,
    "member-enrolled.v1": _opens,
    "member-closed.v1": _ends_as("closed"),
    "member-erased.v1": _ends_as("erased"),
    "members-merged.v1": _merged,
    "merge-undone.v1": _merge_undone,
    BaselineFrozen.topic: _baseline_frozen,
}
