"""The states a writer keeps of one journal's members: a bounded replica of the journal at `position`."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from ledger.member import Member


class MemberCache:
    """States by member id, least recently used first; bounded by what they weigh (`Member.weight`).

    Whoever uses it holds `lock`, from locking the journal to the end of the transaction: within a process that lock,
    and between processes the row lock of the journal, keeps the states at `position`.
    """

    def __init__(self, weight_max: int) -> None:
        self.lock = Lock()
        self.position = 0
        self.members: OrderedDict[str, Member] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._weight = 0
        self._weight_max = weight_max

    def settle(self, touched: dict[str, Member], position: int) -> None:
        """Keep what a committed transaction touched, now the state at `position`, and evict what is too much."""
        members, weights = self.members, self._weights
        for name, member in touched.items():
            members[name] = member
            members.move_to_end(name)
            weight = member.weight()
            self._weight += weight - weights.get(name, 0)
            weights[name] = weight
        self.position = position
        while self._weight > self._weight_max and len(members) > 1:
            name, _ = members.popitem(last=False)
            self._weight -= weights.pop(name)

    def forget(self, names: dict[str, Member]) -> None:
        """Drop states that a transaction that failed may have changed."""
        for name in names:
            if self.members.pop(name, None) is not None:
                self._weight -= self._weights.pop(name)

    def clear(self) -> None:
        """Drop everything."""
        self.members.clear()
        self._weights.clear()
        self._weight = 0
