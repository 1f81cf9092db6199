"""Members' streams in memory: decide, then evolve, with nothing around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ledger.commands import MergeMembers, TransferPoints, UndoMerge
from ledger.decider import Programme, decide, decide_pair, other_member
from ledger.evolver import evolve
from ledger.member import Member, freeze, initial
from ledger.rejections import Rejection
from ledger.terms import Terms, TermsBook, TermsDocument, compile_terms, parse_terms

PROGRAMME = Programme(programme="club", currency="CNY")


def compiled(document: dict[str, Any], version: int) -> Terms:
    """A terms document as the core takes it. A document with problems fails the test that wrote it."""
    parsed = parse_terms(document)
    assert isinstance(parsed, TermsDocument), parsed
    return compile_terms(parsed, version)


class Streams:
    """The streams of a programme's members. A refused command leaves no trace."""

    def __init__(self, documents: Iterable[dict[str, Any]], programme: Programme = PROGRAMME) -> None:
        self.programme = programme
        self.terms = TermsBook([compiled(document, number) for number, document in enumerate(documents, start=1)])
        self.members: dict[str, Member] = {}
        self.events: dict[str, list[Any]] = {}

    def member(self, name: str) -> Member:
        """The state of a member, who may never have been heard of."""
        if name not in self.members:
            self.members[name] = initial(name)
        return self.members[name]

    def handle(self, command: Any) -> dict[str, tuple[Any, ...]] | Rejection:
        """Take a command: the new events of each member it touched, or why it was refused."""
        decision = self._decide(command)
        if isinstance(decision, Rejection):
            return decision
        for name, events in decision.items():
            for event in events:
                self.record(name, event)
        return decision

    def record(self, name: str, event: Any) -> None:
        """Put an event at the end of a member's stream."""
        evolve(self.member(name), event)
        self.events.setdefault(name, []).append(event)

    def _decide(self, command: Any) -> dict[str, tuple[Any, ...]] | Rejection:
        first = self.member(command.member)
        second = self.member(other_member(first, command) or command.member)
        before = freeze(first), freeze(second)
        if isinstance(command, TransferPoints | MergeMembers | UndoMerge):
            pair = decide_pair(first, second, command)
            decision: Any = pair if isinstance(pair, Rejection) else {first.member: pair[0], second.member: pair[1]}
        else:
            one = decide(first, command, self.terms.in_force(command.occurred_at), self.programme)
            decision = one if isinstance(one, Rejection) else {first.member: one}
        assert (freeze(first), freeze(second)) == before, "deciding changed a state, which is for evolving to do"
        return decision
