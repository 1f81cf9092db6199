"""The terms document as a programme's operator writes it: its fields, their ranges and their defaults.

Structs only. What one field cannot say by itself is checked in `ledger.terms_checks`; what it all means at an instant
is compiled in `ledger.terms` and `ledger.earning`. `extra["rule"]` of a field is what a refusal of its value says.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from ledger.periods import PERIOD_PATTERN
from ledger.values import CheckedIdentifier, CheckedLabel

RATE_TERM_MAX = 1_000_000_000
CAP_MAX = 10**15
MULTIPLIERS_MAX = 64
NAMES_MAX = 1_000
DECIMAL_PATTERN = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?(?![\s\S])"
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9](?![\s\S])"
MONTH_DAY_PATTERN = r"^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(?![\s\S])"

Rounding: TypeAlias = Literal["floor_per_purchase", "floor_per_line", "half_up_per_purchase", "half_up_per_line"]
Stacking: TypeAlias = Literal["multiply", "add", "highest", "first"]
Weekday: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_PERIOD_RULE = "must be a whole number and one of D, W, M (months), Y, h, m (minutes), such as 14D"
PeriodText = Annotated[
    str,
    Meta(
        pattern=PERIOD_PATTERN,
        description="A period: a whole number and one unit. D, W, M (months) and Y keep the local time of day; "
        "h and m (minutes) are exact.",
        examples=["14D", "12M", "30m"],
        extra={"rule": _PERIOD_RULE},
    ),
]
Instant = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with an offset.",
        examples=["2026-01-01T00:00:00+08:00"],
        extra={"rule": "must be an RFC 3339 instant with an offset, such as 2026-01-01T00:00:00+08:00"},
    ),
]
Names = Annotated[list[CheckedLabel], Meta(min_length=1, max_length=NAMES_MAX)]
Cap = Annotated[int, Meta(ge=1, le=CAP_MAX)]
_Term = Annotated[int, Meta(ge=1, le=RATE_TERM_MAX)]


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the document: closed, so that a misspelt rule is refused and never silently left out."""


# --- earning ------------------------------------------------------------------------------------------------------


class RateFraction(_Part, frozen=True, kw_only=True):
    """An exact rate as a fraction: so many points for so many minor units of money."""

    points: _Term
    per_minor: _Term


class MultiplierFraction(_Part, frozen=True, kw_only=True):
    """An exact multiplier as a fraction."""

    numerator: _Term
    denominator: _Term


DecimalText = Annotated[str, Meta(pattern=DECIMAL_PATTERN)]


def exact(value: str | RateFraction | MultiplierFraction) -> Fraction:
    """The exact number that a rate or a multiplier of a document means."""
    match value:
        case RateFraction():
            return Fraction(value.points, value.per_minor)
        case MultiplierFraction():
            return Fraction(value.numerator, value.denominator)
        case _:
            return Fraction(value)


class EarningBase(_Part, frozen=True, kw_only=True):
    """What of a purchase earns. The base of a line is its amount, less tax, with discounts added back, as said here."""

    include_categories: Annotated[
        Names | None, Meta(description="Only lines of these categories earn; left out means all.")
    ] = None
    exclude_categories: Annotated[
        list[CheckedLabel], Meta(max_length=NAMES_MAX, description="Lines of these categories never earn.")
    ] = []
    tax: Annotated[Literal["exclude", "include"], Meta(description="Whether the tax in a line's amount earns.")] = (
        "exclude"
    )
    discounts: Annotated[
        Literal["after", "before"],
        Meta(description="after: what is paid earns. before: the line's discount is added back first."),
    ] = "after"
    rewards: Annotated[Literal["exclude", "include"], Meta(description="Whether lines given as a reward earn.")] = (
        "exclude"
    )


class LocalTime(_Part, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A daily window in the programme's time zone; `until` is exclusive, and before `from` it is on the next day."""

    from_: Annotated[str, Meta(pattern=CLOCK_PATTERN, extra={"rule": "must be a time of day from 00:00 to 23:59"})]
    until: Annotated[str, Meta(pattern=CLOCK_PATTERN, extra={"rule": "must be a time of day from 00:00 to 23:59"})]


class When(_Part, frozen=True, kw_only=True, rename={"from_": "from"}):
    """When a multiplier applies: every condition given must hold, and at least one must be given."""

    categories: Annotated[Names | None, Meta(description="The line's category is one of these.")] = None
    channels: Annotated[Names | None, Meta(description="The purchase's channel is one of these.")] = None
    stores: Annotated[Names | None, Meta(description="The purchase's store is one of these.")] = None
    weekdays: Annotated[
        Annotated[list[Weekday], Meta(min_length=1, max_length=7)] | None,
        Meta(description="The local weekday; in a window past midnight, the day on which the window opened."),
    ] = None
    local_time: LocalTime | None = None
    first_purchase: Annotated[
        bool | None, Meta(description="true: the member's first purchase only; false: all but the first.")
    ] = None
    attributes: Annotated[
        dict[CheckedIdentifier, CheckedLabel] | None,
        Meta(description="Each of these attributes of the member has this value."),
    ] = None
    from_: Annotated[Instant | None, Meta(description="Not before this instant.")] = None
    until: Annotated[Instant | None, Meta(description="Before this instant.")] = None


class Multiplier(_Part, frozen=True, kw_only=True):
    """A named rule that multiplies the rate of the lines it applies to."""

    rule: Annotated[
        CheckedIdentifier, Meta(description="The rule's name; it is recorded with every accrual it shaped.")
    ]
    multiplier: Annotated[
        DecimalText | MultiplierFraction,
        Meta(
            description='Exact: a decimal string such as "1.5", or {"numerator": 3, "denominator": 2}.',
            extra={"rule": 'must be a decimal string such as "1.5", or {"numerator": 3, "denominator": 2}'},
        ),
    ]
    when: When


class Caps(_Part, frozen=True, kw_only=True):
    """The most points that purchases earn; days and months are those of the programme's time zone."""

    purchase: Annotated[Cap | None, Meta(description="Points a purchase.")] = None
    day: Annotated[Cap | None, Meta(description="Points a member and local day.")] = None
    month: Annotated[Cap | None, Meta(description="Points a member and local month.")] = None


class ExpiryAfter(_Part, frozen=True, kw_only=True, tag_field="kind", tag="after"):
    """Points expire a period after they were earned."""

    period: PeriodText


class ExpiryEndOfMonth(_Part, frozen=True, kw_only=True, tag_field="kind", tag="end_of_month"):
    """Points expire at the end of the local month that `after` leads to."""

    after: PeriodText


class ExpiryOnDate(_Part, frozen=True, kw_only=True, tag_field="kind", tag="on_date"):
    """Points expire at the end of the first such local day of a year, on or after the day that `after` leads to."""

    month_day: Annotated[
        str,
        Meta(
            pattern=MONTH_DAY_PATTERN,
            description="Month and day; 02-29 is 28 February in a common year.",
            examples=["12-31"],
            extra={"rule": "must be a month and a day, such as 12-31"},
        ),
    ]
    after: PeriodText = "0D"


class NeverExpires(_Part, frozen=True, kw_only=True, tag_field="kind", tag="never"):
    """Points do not expire."""


class EarningTerms(_Part, frozen=True, kw_only=True):
    """How purchases earn points, when the points become available and when they expire."""

    rate: Annotated[
        DecimalText | RateFraction,
        Meta(
            description='Exact points for one minor unit of money: a decimal string ("0.01" is 1 point for 100 minor '
            'units), or {"points": 1, "per_minor": 100}.',
            extra={"rule": 'must be a decimal string such as "0.01", or {"points": 1, "per_minor": 100}'},
        ),
    ]
    base: EarningBase = EarningBase()
    rounding: Annotated[
        Rounding, Meta(description="Where fractions of a point go, and whether a line or a purchase at a time.")
    ] = "floor_per_purchase"
    multipliers: Annotated[list[Multiplier], Meta(max_length=MULTIPLIERS_MAX)] = []
    stacking: Annotated[
        Stacking | None,
        Meta(
            description="How multipliers that apply to the same line combine: multiply; add (1 + the sum of what each "
            "adds to 1); highest; first (in the order of the document). Required where two can overlap."
        ),
    ] = None
    caps: Caps = Caps()
    activation: Annotated[PeriodText, Meta(description="From earning until points can be spent.")] = "0D"
    expiry: ExpiryAfter | ExpiryEndOfMonth | ExpiryOnDate | NeverExpires = NeverExpires()


# --- redemption and returns ---------------------------------------------------------------------------------------


class ExtendDays(_Part, frozen=True, kw_only=True):
    """Points of a reversed redemption that expired meanwhile come back for so many days."""

    extend_days: Annotated[int, Meta(ge=1, le=3_650)]


class RedemptionTerms(_Part, frozen=True, kw_only=True):
    """How points are spent, held and given back."""

    minimum: Annotated[Cap | None, Meta(description="Fewest points to redeem at once; left out means the step.")] = None
    step: Annotated[Cap, Meta(description="Points redeemed are a multiple of this.")] = 1
    hold_timeout: Annotated[PeriodText, Meta(description="From a hold until it times out.")] = "30m"
    reversal_window: Annotated[PeriodText, Meta(description="From a redemption until it cannot be reversed.")] = "90D"
    reversal_of_expired: Annotated[
        Literal["forfeit"] | ExtendDays,
        Meta(
            description="What becomes of points of a reversed redemption that expired meanwhile.",
            extra={"rule": 'must be "forfeit" or {"extend_days": 30}'},
        ),
    ] = "forfeit"


class ReturnTerms(_Part, frozen=True, kw_only=True):
    """What a return of goods does to the points they earned."""

    window: Annotated[PeriodText, Meta(description="From a purchase until it cannot be returned.")] = "90D"
    late_grace: Annotated[
        PeriodText,
        Meta(description="How long after a return or reversal window a message dated inside it is still understood."),
    ] = "30D"
    policy: Annotated[
        Literal["only_pending", "within_balance", "arrears"],
        Meta(description="Where points to take back come from, and whether what is missing is owed."),
    ] = "within_balance"
    unmatched: Annotated[
        Literal["refuse", "base_rate"],
        Meta(description="What happens to returned goods that match no known purchase."),
    ] = "refuse"


class TermsDocument(_Part, frozen=True, kw_only=True):
    """The terms of a loyalty programme from an instant on, until a later version takes over."""

    name: Annotated[CheckedLabel, Meta(min_length=1, description="What people call these terms.")]
    effective_from: Instant
    currency: Annotated[
        str,
        Meta(
            pattern=r"^[A-Z]{3}(?![\s\S])",
            description="ISO 4217 code of the money that earns.",
            extra={"rule": "must be an ISO 4217 code of three capital letters, such as CNY"},
        ),
    ]
    time_zone: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="IANA name of the programme's time zone.",
            examples=["Asia/Shanghai"],
            extra={"rule": "must be the IANA name of a time zone, such as Asia/Shanghai"},
        ),
    ]
    earning: EarningTerms
    redemption: RedemptionTerms = RedemptionTerms()
    returns: ReturnTerms = ReturnTerms()
