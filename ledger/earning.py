"""What a purchase earns under one version of the terms: base, multipliers, rounding, caps, all in integers.

Each line gets an integer weight over a scale common to the purchase: base × rate × multiplier, exact. The points are
the sum of the weights over the scale, rounded once a purchase, or (`…_per_line`) each weight is rounded first and the
scale is 1. Caps then cut the points and leave the weights, which a return needs as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from fractions import Fraction
from math import lcm, prod
from typing import assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

from ledger.commands import PurchaseLine
from ledger.conditions import Condition, Moment, condition, week_minute
from ledger.events import Part
from ledger.terms_document import Caps, EarningBase, EarningTerms, Stacking, exact

BASE_RULE = "base"
"""The name of what every line earns by; no multiplier may have it."""

SELECTIONS_MAX = 1_024
"""Sets of rules whose combinations are kept at most; past it they are worked out anew."""


class Earning(Struct, frozen=True, kw_only=True, gc=False):
    """What a purchase earns, and why; the fields of `PointsAccrued` of the same names.

    `points` are after caps and may be 0. `weights` has one integer a line over `scale`. Where a cap bit, `cap` names
    the tightest (`purchase`, `day` or `month`) and `before_cap` has the points before any. `earned_on` is the local
    day, where the terms cap a day or a month.
    """

    points: int
    base_minor: int
    parts: list[Part]
    weights: list[int]
    scale: int = 1
    cap: str | None = None
    before_cap: int | None = None
    earned_on: date | None = None


class _Rule(Struct, frozen=True):
    name: str
    multiplier: Fraction
    condition: Condition


class _Combination(Struct, frozen=True):
    """The rules that shape a line together: their names behind `base`, the stacked multiplier, points a minor unit."""

    rules: list[str]
    multiplier: str
    factor: Fraction


class EarningRules:
    """The earning part of one version of the terms, compiled."""

    __slots__ = (
        "_base",
        "_caps",
        "_categories",
        "_plain",
        "_plainly",
        "_rate",
        "_rate_text",
        "_rounding",
        "_rules",
        "_selections",
        "_stacking",
        "_weekly",
        "_zone",
        "has_calendar_caps",
    )

    def __init__(self, terms: EarningTerms, zone: ZoneInfo) -> None:
        """Compile a checked document's `earning` (`parse_terms` finds what would make no sense here)."""
        self._zone = zone
        self._base = _Base(terms.base)
        self._rate = exact(terms.rate)
        self._rate_text = str(self._rate)
        self._plain = (self._rate.numerator, self._rate.denominator, [BASE_RULE])
        self._rounding = terms.rounding
        self._stacking = terms.stacking
        self._rules = tuple(_Rule(m.rule, exact(m.multiplier), condition(m.when)) for m in terms.multipliers)
        self._weekly = any(rule.condition.week is not None for rule in self._rules)
        self._categories = frozenset().union(*(rule.condition.categories or () for rule in self._rules))
        self._selections: dict[tuple[int, ...], dict[str | None, _Combination]] = {}
        self._caps = terms.caps if terms.caps != Caps() else None
        self._plainly = not self._rules and self._caps is None and terms.rounding == "floor_per_purchase"
        self.has_calendar_caps = terms.caps.day is not None or terms.caps.month is not None

    def base_rate_points(self, amount_minor: int) -> int:
        """Points that an amount earns at the bare rate, rounded down."""
        numerator, denominator, _ = self._plain
        return amount_minor * numerator // denominator

    def earn(
        self,
        lines: list[PurchaseLine],
        *,
        channel: str,
        store: str,
        occurred_at: datetime,
        first_purchase: bool,
        attributes: dict[str, str],
        earned_in_day: Callable[[date], int],
        earned_in_month: Callable[[tuple[int, int]], int],
    ) -> Earning:
        """What a purchase earns.

        Arguments:
            lines: the purchase's lines.
            channel, store: where it was made; empty where not known.
            occurred_at: the business time, in UTC.
            first_purchase: whether it is the member's first.
            attributes: the member's, as they stand.
            earned_in_day: points that earlier purchases of the member earned on a local day; asked under a day cap.
            earned_in_month: the same for a local (year, month); asked under a month cap.
        """
        bases = self._base.of(lines)
        base_minor = sum(bases)
        if base_minor == 0:
            return Earning(points=0, base_minor=0, parts=[], weights=bases)
        if self._plainly:  # what follows comes to the same, more slowly
            numerator, scale, names = self._plain
            return Earning(
                points=base_minor * numerator // scale,
                base_minor=base_minor,
                parts=[Part(rules=names, base_minor=base_minor, rate=self._rate_text)],
                weights=bases if numerator == 1 else [base * numerator for base in bases],
                scale=scale,
            )
        if self._rules:
            moment = Moment(
                occurred_at,
                week_minute(occurred_at, self._zone) if self._weekly else 0,
                channel,
                store,
                first_purchase,
                attributes,
            )
            parts, weights, scale = self._weigh(lines, bases, self._selected(moment))
        else:
            numerator, scale, names = self._plain
            weights = bases if numerator == 1 else [base * numerator for base in bases]
            parts = [Part(rules=names, base_minor=base_minor, rate=self._rate_text)]
        match self._rounding:
            case "floor_per_purchase":
                points = sum(weights) // scale
            case "half_up_per_purchase":
                points = _half_up(sum(weights), scale)
            case "floor_per_line":
                weights, scale = [weight // scale for weight in weights], 1
                points = sum(weights)
            case "half_up_per_line":
                weights, scale = [_half_up(weight, scale) for weight in weights], 1
                points = sum(weights)
            case _:
                assert_never(self._rounding)
        if self._caps is None:
            return Earning(points=points, base_minor=base_minor, parts=parts, weights=weights, scale=scale)
        day = occurred_at.astimezone(self._zone).date() if self.has_calendar_caps else None
        kept, cap = _capped(points, self._caps, day, earned_in_day, earned_in_month)
        return Earning(
            points=kept,
            base_minor=base_minor,
            parts=parts,
            weights=weights,
            scale=scale,
            cap=cap,
            before_cap=None if cap is None else points,
            earned_on=day,
        )

    def _selected(self, moment: Moment) -> dict[str | None, _Combination]:
        """The combination for each category under the rules that the purchase satisfies; None is any other one."""
        selection = tuple(n for n, rule in enumerate(self._rules) if rule.condition.holds(moment))
        found = self._selections.get(selection)
        if found is None:
            if len(self._selections) >= SELECTIONS_MAX:
                self._selections.clear()
            found = self._selections[selection] = self._combinations([self._rules[n] for n in selection])
        return found

    def _combinations(self, rules: list[_Rule]) -> dict[str | None, _Combination]:
        made: dict[tuple[str, ...], _Combination] = {}
        by_category: dict[str | None, _Combination] = {}
        for category in (None, *sorted(self._categories)):
            fit = [r for r in rules if r.condition.categories is None or category in r.condition.categories]
            applied, multiplier = _stacked(fit, self._stacking)
            names = (BASE_RULE, *(rule.name for rule in applied))
            if names not in made:
                made[names] = _Combination(list(names), str(multiplier), self._rate * multiplier)
            by_category[category] = made[names]
        return by_category

    def _weigh(
        self, lines: list[PurchaseLine], bases: list[int], combinations: dict[str | None, _Combination]
    ) -> tuple[list[Part], list[int], int]:
        other = combinations[None]
        of_line = [combinations.get(line.category, other) for line in lines]
        by_rules: dict[int, list[int]] = {}
        for index, (combination, base) in enumerate(zip(of_line, bases, strict=True)):
            if base:
                by_rules.setdefault(id(combination), []).append(index)
        shaping = [of_line[indexes[0]] for indexes in by_rules.values()]
        scale = lcm(*(combination.factor.denominator for combination in shaping))
        weights = [0] * len(bases)
        parts = []
        for combination, indexes in zip(shaping, by_rules.values(), strict=True):
            unit = combination.factor.numerator * (scale // combination.factor.denominator)
            for index in indexes:
                weights[index] = bases[index] * unit
            parts.append(
                Part(
                    rules=combination.rules,
                    base_minor=sum([bases[index] for index in indexes]),
                    rate=self._rate_text,
                    multiplier=combination.multiplier,
                    lines=indexes if len(by_rules) > 1 else None,
                )
            )
        return parts, weights, scale


class _Base:
    """What of each line earns, in minor units."""

    __slots__ = ("_add_discount", "_excluded", "_included", "_less_tax", "_rewards")

    def __init__(self, base: EarningBase) -> None:
        self._less_tax = int(base.tax == "exclude")
        self._add_discount = int(base.discounts == "before")
        self._rewards = base.rewards == "include"
        self._included = None if base.include_categories is None else frozenset(base.include_categories)
        self._excluded = frozenset(base.exclude_categories)

    def of(self, lines: list[PurchaseLine]) -> list[int]:
        """One base a line; 0 where it does not earn, or where its tax is more than its amount."""
        tax, discount, rewards, included, excluded = (
            self._less_tax,
            self._add_discount,
            self._rewards,
            self._included,
            self._excluded,
        )
        return [
            base
            if (rewards or not line.reward)
            and (included is None or line.category in included)
            and not (excluded and line.category in excluded)
            and (base := line.amount_minor - tax * line.tax_minor + discount * line.discount_minor) > 0
            else 0
            for line in lines
        ]


def _half_up(weight: int, scale: int) -> int:
    """Weight / scale to the nearest integer; exactly half goes up. Neither is negative."""
    return (2 * weight + scale) // (2 * scale)


def _stacked(rules: list[_Rule], stacking: Stacking | None) -> tuple[list[_Rule], Fraction]:
    """The rules that count of those that fit a line, and their multiplier."""
    if len(rules) < 2:
        return rules, rules[0].multiplier if rules else Fraction(1)
    match stacking:
        case "multiply":
            return rules, prod((rule.multiplier for rule in rules), start=Fraction(1))
        case "add":
            return rules, max(Fraction(0), 1 + sum((rule.multiplier - 1 for rule in rules), start=Fraction(0)))
        case "highest":
            highest = max(rules, key=lambda rule: rule.multiplier)  # of equals the first, as max does
            return [highest], highest.multiplier
        case "first":
            return rules[:1], rules[0].multiplier
        case None:
            raise ValueError(f"rules {', '.join(rule.name for rule in rules)} overlap and no stacking says how")
        case _:
            assert_never(stacking)


def _capped(
    points: int,
    caps: Caps,
    day: date | None,
    earned_in_day: Callable[[date], int],
    earned_in_month: Callable[[tuple[int, int]], int],
) -> tuple[int, str | None]:
    """The points left after every cap, and the name of the tightest that bit: of equals, the first of the three."""
    kept, cap = points, None
    if caps.purchase is not None and caps.purchase < kept:
        kept, cap = caps.purchase, "purchase"
    if day is not None and caps.day is not None and (room := max(0, caps.day - earned_in_day(day))) < kept:
        kept, cap = room, "day"
    if day is not None and caps.month is not None:
        room = max(0, caps.month - earned_in_month((day.year, day.month)))
        if room < kept:
            kept, cap = room, "month"
    return kept, cap
