"""Random histories of steering, valid by construction, and of what members tell about themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from ledger.codec import MEMBER_STREAM, encode
from ledger.events import (
    BudgetSet,
    CauseFound,
    CorrectiveActionDone,
    CorrectiveActionPlanned,
    CorrectiveActionVerified,
    FocusAssessed,
    FocusItem,
    MemberClosed,
    MemberEnrolled,
    MemberErased,
    MemberProfileChanged,
    MembersMerged,
    MergeUndone,
    NonconformityRaised,
    ObjectiveDefined,
    ObjectiveMeasured,
)
from ledger.store.database import Database
from ledger.store.journal import append, lock_head, store_head

START = datetime(2026, 1, 1, 9, tzinfo=UTC)


class Steered:
    """Events of steering and of members' data in the order of one journal, with what they should have led to."""

    def __init__(self, seed: int, steps: int) -> None:
        self._random = Random(seed)
        self._number = 0
        self.now = START
        self.events: list[Any] = []
        self.status: dict[str, str] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self._survivor: dict[str, str] = {}
        self._objectives: dict[str, int] = {}
        self._budgets: dict[tuple[Any, ...], int] = {}
        self.steps: dict[str, str] = {}
        """The next step of each nonconformity."""
        self.actions: dict[tuple[str, str], str] = {}
        """The next step of each action."""
        for _ in range(steps):
            self._random.choice(self._verbs)(self)

    def _say(self, kind: Any, **fields: Any) -> None:
        self._number += 1
        self.now += timedelta(hours=1)
        late = timedelta(days=self._random.choice([0, 0, 0, 9]))
        self.events.append(
            kind(id=str(self._number), source="desk", programme="club", occurred_at=self.now - late, **fields)
        )

    def _day(self) -> date:
        return date(2026, 1, 1) + timedelta(days=self._random.randrange(90))

    # --- objectives and the loop

    def _objective(self) -> None:
        name = self._random.choice(["satisfaction ≥", "back\\slash", "answer time"])
        self._objectives[name] = version = self._objectives.get(name, 0) + 1
        self._say(
            ObjectiveDefined, objective=name, version=version, comparator=">=", direction="up", unit="points",
            target=f"{self._random.randrange(90)}.10", period="month", owner="lee", retired=self._random.random() < 0.1,
        )  # fmt: skip

    def _measurement(self) -> None:
        if self._objectives:
            name = self._random.choice(list(self._objectives))
            self._say(
                ObjectiveMeasured, objective=name, version=self._objectives[name],
                period_on=date(2026, self._random.randint(1, 4), 1), value=str(self._random.randrange(100)),
                bound=self._random.choice(["", ">"]), attained=self._random.choice([True, False, None]),
            )  # fmt: skip

    def _raise(self) -> None:
        name = f"nc-{len(self.steps)}"
        self.steps[name] = "find_cause"
        self._say(NonconformityRaised, nonconformity=name, what='it "failed"', owner="lee", due_on=self._day())

    def _step(self) -> None:
        """The next step of a nonconformity or of one of its actions."""
        due = {"owner": self._random.choice(["lee", "wu"]), "due_on": self._day()}
        open_ones = [name for name, step in self.steps.items() if step != "closed"]
        if not open_ones:
            return
        name = self._random.choice(open_ones)
        actions = [key for key, step in self.actions.items() if key[0] == name and step in ("do", "verify")]
        if self.steps[name] == "find_cause":
            self.steps[name] = "plan_action"
            self._say(CauseFound, nonconformity=name, cause="a\tcause", **due)
        elif not actions or self._random.random() < 0.2:
            action = f"action-{self._number}"
            self.steps[name], self.actions[name, action] = "act", "do"
            self._say(CorrectiveActionPlanned, nonconformity=name, action=action, what="mend it", **due)
        else:
            self._on(self._random.choice(actions), due)

    def _on(self, key: tuple[str, str], due: dict[str, Any]) -> None:
        named = {"nonconformity": key[0], "action": key[1]}
        if self.actions[key] == "do":
            self.actions[key] = "verify"
            self._say(CorrectiveActionDone, done_by="wu", **named, **due)
            return
        effective = self._random.random() < 0.6
        self.actions[key] = "effective" if effective else "ineffective"
        others = [step for (name, _), step in self.actions.items() if name == key[0] and step in ("do", "verify")]
        closed = effective and not others and self.steps[key[0]] == "act"
        if closed:
            self.steps[key[0]] = "closed"
        elif not effective:
            self.steps[key[0]] = "plan_action"
        self._say(
            CorrectiveActionVerified, effective=effective, verified_by="lee", owner=due["owner"], closed=closed,
            due_on=None if effective else due["due_on"], **named,
        )  # fmt: skip

    # --- plans and audits

    def _budget(self) -> None:
        month = self._random.randint(1, 3)
        key = (
            self._random.choice(["top_down", "bottom_up"]),
            *self._random.choice([("programme", ""), ("segment", "tier=gold"), ("member", "m1")]),
            self._random.choice(["revenue", "satisfaction"]),
            month,
        )
        self._budgets[key] = version = self._budgets.get(key, 0) + 1
        direction, level, who, measure, month = key
        self._say(
            BudgetSet, direction=direction, level=level, who=who, measure=measure, from_on=date(2026, month, 1),
            until_on=date(2026, month + 1, 1), value=str(self._random.randrange(100)), version=version,
        )  # fmt: skip

    def _audit(self) -> None:
        items = [FocusItem(item=f"item {number}", score=self._random.randint(1, 5)) for number in range(3)]
        segment = self._random.choice(["", "tier=gold"])
        self._say(FocusAssessed, factor="information", scale=(1, 5), items=items, assessor="wu", segment=segment)

    # --- members

    def _enrol(self) -> None:
        member = f"m{len(self.status)}"
        given = {"tier": self._random.choice(["gold", "plain"])} if self._random.random() < 0.7 else {}
        self.status[member], self.attributes[member] = "open", dict(given)
        self._say(MemberEnrolled, member=member, attributes=given)

    def _open(self) -> str | None:
        return self._random.choice([member for member, status in self.status.items() if status == "open"] or [None])

    def _profile(self) -> None:
        member = self._open()
        if member:
            value = self._random.choice(["gold", "a=b\\c", None])
            attribute = self._random.choice(["tier", "city"])
            changed = {attribute: value} if self._random.random() < 0.7 else {}
            self._say(MemberProfileChanged, member=member, sealed=self._random.choice([b"", b"x"]), attributes=changed)
            self.attributes[member] |= changed
            self.attributes[member] = {name: held for name, held in self.attributes[member].items() if held is not None}

    def _merge(self) -> None:
        member, other = self._open(), self._open()
        if member and other and member != other:
            self.status[member], self._survivor[member] = "merged", other
            self._say(MembersMerged, member=member, side="out", other=other)
            self._say(MembersMerged, member=other, side="in", other=member)

    def _undo(self) -> None:
        for member, other in self._survivor.items():
            if self.status[member] == "merged" and self.status[other] == "open":
                self.status[member] = "open"
                self._say(MergeUndone, member=other, side="out", other=member)
                self._say(MergeUndone, member=member, side="in", other=other)
                return

    def _end(self) -> None:
        member = self._random.choice([member for member, status in self.status.items() if status != "erased"] or [""])
        if not member:
            return
        if self.status[member] == "open" and self._random.random() < 0.5:
            self.status[member] = "closed"
            self._say(MemberClosed, member=member)
        else:
            self.status[member], self.attributes[member] = "erased", {}
            self._say(MemberErased, member=member)

    _verbs = (
        _objective, _measurement, _measurement, _raise, *[_step] * 8, _budget, _budget, _audit, _enrol, _enrol,
        *[_profile] * 3, _merge, _undo, _end,
    )  # fmt: skip


def record(database: Database, journal: int, events: Iterable[Any], versions: dict[str, int]) -> None:
    """Append events of members and of steering; `versions` has the version of each stream and is moved on."""
    with database.connection() as cur:
        head = lock_head(cur, journal, begin=True)
        append(cur, head, [_record(event, versions) for event in events])
        store_head(cur, head, commit=True)


def _record(event: Any, versions: dict[str, int]) -> Any:
    stream = MEMBER_STREAM + event.member if hasattr(event, "member") else "steering"
    versions[stream] = versions.get(stream, 0) + 1
    return (stream, versions[stream], type(event).topic, encode(event), None, None, None)
