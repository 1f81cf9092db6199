"""Returns: which purchases the goods came from, and what points are due for them.

Points due are computed on cumulative figures (what all returns of a purchase together take back, less what the earlier
ones did), so any sequence of partial returns that ends in a full one takes back exactly what the purchase earned.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from ledger.commands import RecordReturn, ReturnLine
from ledger.events import PurchaseReturned, ReturnMatch
from ledger.member import Key, Member, Purchase
from ledger.rejections import Rejection
from ledger.terms import Terms


class Clawback(Struct, frozen=True, kw_only=True, gc=False):
    """Points to claw back, and for which purchase; `lot` is the one that it opened."""

    due: int
    lot: str = ""
    purchase: str | None = None
    purchase_source: str | None = None


class Taken:
    """What a return takes from purchases: for each of them, by line, quantity and amount."""

    def __init__(self) -> None:
        self.purchases: dict[Key, Purchase] = {}
        self.lines: dict[Key, dict[int, tuple[int, int]]] = {}

    def left(self, purchase: Purchase, line: int) -> tuple[int, int]:
        """Quantity and amount of a line that neither came back before nor is taken now."""
        quantity, amount = purchase.left(line)
        taken = self.lines.get((purchase.source, purchase.id), {}).get(line, (0, 0))
        return quantity - taken[0], amount - taken[1]

    def take(self, purchase: Purchase, line: int, quantity: int, amount: int) -> None:
        """Take from a line."""
        if quantity == 0 and amount == 0:
            return
        key = (purchase.source, purchase.id)
        self.purchases[key] = purchase
        lines = self.lines.setdefault(key, {})
        before = lines.get(line, (0, 0))
        lines[line] = (before[0] + quantity, before[1] + amount)

    def take_sku(self, purchase: Purchase, sku: str, quantity: int, amount: int) -> tuple[int, int]:
        """Take as much as is left of a sku in a purchase. Returns the quantity and the amount not found there."""
        for index, line in enumerate(purchase.lines):
            if line.sku != sku or (quantity == 0 and amount == 0):
                continue
            left_quantity, left_amount = self.left(purchase, index)
            took = min(quantity, left_quantity), min(amount, left_amount)
            self.take(purchase, index, *took)
            quantity -= took[0]
            amount -= took[1]
        return quantity, amount

    def matches(self) -> list[ReturnMatch]:
        """What is taken, as the event names it."""
        return [
            ReturnMatch(
                purchase=purchase.id,
                purchase_source=purchase.source,
                lines=[(line, *taken) for line, taken in sorted(self.lines[key].items())],
                points_due=points_due(purchase, self.lines[key]),
                cost_minor=goods_cost(purchase, self.lines[key]),
            )
            for key, purchase in self.purchases.items()
        ]


def points_due(purchase: Purchase, taken: dict[int, tuple[int, int]]) -> int:
    """Points that a further return of a purchase takes back: cumulative with it, less what was due before it.

    Per line the returned weight is floor(weight · returned amount / line amount); a line of amount 0 returns its weight
    with its last piece. In all: floor(earned · returned weight / total weight).
    """
    total = sum(purchase.weights)
    if total == 0 or purchase.earned == 0:
        return 0
    weight = sum(_returned_weight(purchase, index, taken.get(index, (0, 0))) for index in range(len(purchase.lines)))
    return purchase.earned * weight // total - purchase.clawed_back


def _returned_weight(purchase: Purchase, index: int, taken: tuple[int, int]) -> int:
    line = purchase.lines[index]
    before = purchase.returned[index] if purchase.returned is not None else (0, 0)
    quantity, amount = before[0] + taken[0], before[1] + taken[1]
    if line.amount_minor:
        return purchase.weights[index] * amount // line.amount_minor
    return purchase.weights[index] if quantity >= line.quantity else 0


def goods_cost(purchase: Purchase, taken: dict[int, tuple[int, int]]) -> int | None:
    """What the goods that a further return brings back had cost, in minor units; None where that of a line is unknown.

    Per line floor(cost · returned quantity / quantity), cumulative with this return less the same before it, so that
    the returns of all of a line add up to its cost. Where only an amount is paid back, no goods come back.
    """
    cost = 0
    for index, (quantity, _) in taken.items():
        line = purchase.lines[index]
        if quantity == 0:
            continue
        if line.cost_minor is None:
            return None
        before = line.quantity - purchase.left(index)[0]
        cost += line.cost_minor * (before + quantity) // line.quantity - line.cost_minor * before // line.quantity
    return cost


def decide_return(
    member: Member, command: RecordReturn, terms: Terms
) -> tuple[PurchaseReturned, list[Clawback]] | Rejection:
    """What a return takes from which purchases, and the clawbacks that follow."""
    if command.purchase is None and command.lines is None:
        return Rejection("PURCHASE_REQUIRED", "purchase", "must be given where lines are not")
    if nothing := _refuse_nothing(command):
        return nothing
    taken = Taken()
    if command.purchase is not None:
        refusal = _take_referenced(member, command, taken)
        unmatched: list[ReturnLine] = []
    else:
        unmatched = _take_newest(member, command, taken)
        refusal = _refuse_unmatched(unmatched) if terms.unmatched == "refuse" else None
    if refusal:
        return refusal
    matches = taken.matches()
    unmatched_due = terms.base_rate_points(sum(line.amount_minor for line in unmatched))
    returned = PurchaseReturned(
        programme=command.programme,
        member=command.member,
        occurred_at=command.occurred_at,
        source=command.source,
        id=command.id,
        currency=command.currency,
        amount_minor=sum(amount for match in matches for _, _, amount in match.lines)
        + sum(line.amount_minor for line in unmatched),
        terms=terms.version,
        matches=matches,
        unmatched=unmatched,
        unmatched_points_due=unmatched_due,
        referenced=command.purchase is not None,
        channel=command.channel,
        store=command.store,
        reason=command.reason,
    )
    clawbacks = [
        Clawback(
            due=match.points_due,
            lot=taken.purchases[match.purchase_source, match.purchase].lot,
            purchase=match.purchase,
            purchase_source=match.purchase_source,
        )
        for match in matches
        if match.points_due
    ]
    if unmatched_due:
        clawbacks.append(Clawback(due=unmatched_due))
    return returned, clawbacks


def _refuse_nothing(command: RecordReturn) -> Rejection | None:
    for number, line in enumerate(command.lines or ()):
        if line.quantity == 0 and line.amount_minor == 0:
            return Rejection("NOTHING_TO_RETURN", f"lines[{number}]", "needs a quantity or an amount above 0")
    if command.lines is None and command.amount_minor == 0:
        return Rejection("NOTHING_TO_RETURN", "amount_minor", "must be above 0", "0")
    return None


# --- a return that names its purchase -----------------------------------------------------------------------------


def _take_referenced(member: Member, command: RecordReturn, taken: Taken) -> Rejection | None:
    purchase = _referenced(member, command)
    if isinstance(purchase, Rejection):
        return purchase
    at = command.occurred_at
    if at < purchase.occurred_at:
        rule = f"may not be before the purchase, {purchase.occurred_at.isoformat()}"
        return Rejection("RETURN_BEFORE_PURCHASE", "occurred_at", rule, at.isoformat())
    if at > purchase.returnable_until:
        rule = f"may not be after {purchase.returnable_until.isoformat()}"
        return Rejection("RETURN_WINDOW_PASSED", "occurred_at", rule, at.isoformat())
    if command.lines is not None:
        return _take_lines(purchase, command.lines, taken)
    if command.amount_minor is not None:
        return _take_amount(purchase, command.amount_minor, taken)
    return _take_all(purchase, taken)


def _referenced(member: Member, command: RecordReturn) -> Purchase | Rejection:
    found = [
        purchase
        for purchase in member.purchases.values()
        if purchase.id == command.purchase and command.purchase_source in (None, purchase.source)
    ]
    found = [purchase for purchase in found if purchase.source == command.source] or found
    if not found:
        rule = "the member has no such purchase within the return window"
        return Rejection("PURCHASE_NOT_FOUND", "purchase", rule, str(command.purchase))
    if len(found) > 1:
        sources = ", ".join(sorted(purchase.source for purchase in found))
        return Rejection("PURCHASE_AMBIGUOUS", "purchase_source", f"must be one of {sources}", str(command.purchase))
    return found[0]


def _take_lines(purchase: Purchase, lines: Iterable[ReturnLine], taken: Taken) -> Rejection | None:
    for number, line in enumerate(lines):
        quantity, amount = taken.take_sku(purchase, line.sku, line.quantity, line.amount_minor)
        if quantity:
            rule = f"only {line.quantity - quantity} of sku {line.sku} are left to return of purchase {purchase.id}"
            return Rejection("RETURN_EXCEEDS_PURCHASE", f"lines[{number}].quantity", rule, str(line.quantity))
        if amount:
            rule = f"only {line.amount_minor - amount} is left to return of sku {line.sku} in purchase {purchase.id}"
            return Rejection("RETURN_EXCEEDS_PURCHASE", f"lines[{number}].amount_minor", rule, str(line.amount_minor))
    return None


def _take_amount(purchase: Purchase, amount: int, taken: Taken) -> Rejection | None:
    """Spread an amount over what is left of the lines, in proportion, by prefix sums so that it adds up exactly."""
    left = [purchase.left(line)[1] for line in range(len(purchase.lines))]
    total = sum(left)
    if amount > total:
        rule = f"only {total} is left to return of purchase {purchase.id}"
        return Rejection("RETURN_EXCEEDS_PURCHASE", "amount_minor", rule, str(amount))
    prefix = 0
    for line, line_left in enumerate(left):
        below = amount * prefix // total
        prefix += line_left
        taken.take(purchase, line, 0, amount * prefix // total - below)
    return None


def _take_all(purchase: Purchase, taken: Taken) -> Rejection | None:
    for line in range(len(purchase.lines)):
        taken.take(purchase, line, *purchase.left(line))
    if not taken.purchases:
        return Rejection("RETURN_EXCEEDS_PURCHASE", "purchase", "nothing of it is left to return", purchase.id)
    return None


# --- a return that does not ---------------------------------------------------------------------------------------


def _take_newest(member: Member, command: RecordReturn, taken: Taken) -> list[ReturnLine]:
    """Match lines to the newest purchases of their skus. Returns what matches none."""
    assert command.lines is not None
    newest = _newest_first(member, {line.sku for line in command.lines}, command.occurred_at)
    unmatched: list[ReturnLine] = []
    for line in command.lines:
        quantity, amount = line.quantity, line.amount_minor
        for purchase in newest:
            quantity, amount = taken.take_sku(purchase, line.sku, quantity, amount)
            if quantity == 0 and amount == 0:
                break
        else:
            unmatched.append(ReturnLine(sku=line.sku, quantity=quantity, amount_minor=amount))
    return unmatched


def _newest_first(member: Member, skus: set[str], at: datetime) -> list[Purchase]:
    candidates = [
        purchase
        for purchase in reversed(member.purchases.values())
        if purchase.occurred_at <= at <= purchase.returnable_until and any(line.sku in skus for line in purchase.lines)
    ]
    candidates.sort(key=lambda purchase: purchase.occurred_at, reverse=True)  # stable: latest recorded stays first
    return candidates


def _refuse_unmatched(unmatched: list[ReturnLine]) -> Rejection | None:
    if not unmatched:
        return None
    line = unmatched[0]
    rule = f"{line.quantity} pieces and an amount of {line.amount_minor} match no purchase in the return window"
    return Rejection("RETURN_UNMATCHED", "lines", rule, line.sku)
