"""Whatever the terms and the purchase: the points, weights and parts are what the slow oracle says."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger.commands import PurchaseLine
from ledger.earning import Earning
from ledger.terms import TermsDocument, compile_terms, parse_terms
from tests.terms import oracle
from tests.terms.documents import earn

CATEGORIES = ["", "coffee", "tea", "gift"]
clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 59]))
instants = st.datetimes(
    datetime.fromisoformat("2025-01-01"), datetime.fromisoformat("2027-01-01"), timezones=st.just(UTC)
)
decimals = st.sampled_from(["0.01", "1", "0.333", "2.5", "0.007"])


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def present(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object in which each field may be left out."""
    return st.fixed_dictionaries({}, optional=strategies)


whens = present(
    categories=some(CATEGORIES),
    channels=some(["", "app", "web"]),
    stores=some(["s1", "s2"]),
    weekdays=some(oracle.DAYS),
    local_time=st.fixed_dictionaries({"from": clocks, "until": clocks}),
    first_purchase=st.booleans(),
    attributes=st.dictionaries(st.sampled_from(["staff", "tier"]), st.sampled_from(["yes", "gold"]), min_size=1),
    **{"from": instants.map(datetime.isoformat), "until": instants.map(datetime.isoformat)},
)
multipliers = st.one_of(
    st.sampled_from(["2", "1.5", "0.5", "0.1", "1"]),
    st.fixed_dictionaries({"numerator": st.integers(1, 9), "denominator": st.integers(1, 9)}),
)
rules = st.lists(st.tuples(whens, multipliers), max_size=4).map(
    lambda made: [{"rule": f"r{n}", "multiplier": each, "when": when} for n, (when, each) in enumerate(made)]
)
lines = st.lists(
    st.fixed_dictionaries(
        {"amount_minor": st.integers(0, 50_000)},
        optional={
            "category": st.sampled_from(CATEGORIES),
            "tax_minor": st.integers(0, 5_000),
            "discount_minor": st.integers(0, 5_000),
            "reward": st.booleans(),
        },
    ),
    min_size=1,
    max_size=6,
)
purchases = st.fixed_dictionaries(
    {
        "at": instants,
        "channel": st.sampled_from(["", "app", "web"]),
        "store": st.sampled_from(["", "s1", "s2"]),
        "first": st.booleans(),
        "attributes": st.dictionaries(st.sampled_from(["staff", "tier"]), st.sampled_from(["yes", "gold"])),
    }
)
bases = present(
    include_categories=some(CATEGORIES),
    exclude_categories=some(CATEGORIES),
    tax=st.sampled_from(["include", "exclude"]),
    discounts=st.sampled_from(["before", "after"]),
    rewards=st.sampled_from(["include", "exclude"]),
)
roundings = st.sampled_from(["floor_per_purchase", "floor_per_line", "half_up_per_purchase", "half_up_per_line"])


def documents(stacking: st.SearchStrategy[str | None]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "name": st.just("Any"),
            "effective_from": st.just("2020-01-01T00:00:00Z"),
            "currency": st.just("USD"),
            "time_zone": st.sampled_from(["Asia/Shanghai", "America/New_York", "UTC"]),
            "earning": st.fixed_dictionaries(
                {"rate": decimals, "rounding": roundings, "multipliers": rules, "stacking": stacking},
                optional={
                    "base": bases,
                    "caps": present(
                        purchase=st.integers(1, 99), day=st.integers(100, 200), month=st.integers(200, 300)
                    ),
                },
            ),
        }
    )


def earned(
    document: dict[str, Any], bought: list[dict[str, Any]], purchase: dict[str, Any], day: int, month: int
) -> Earning:
    parsed = parse_terms(document)
    assume(isinstance(parsed, TermsDocument))
    assert isinstance(parsed, TermsDocument)
    return earn(
        compile_terms(parsed, 1),
        *(PurchaseLine(sku="s", quantity=1, **line) for line in bought),
        at=purchase["at"],
        channel=purchase["channel"],
        store=purchase["store"],
        first_purchase=purchase["first"],
        attributes=purchase["attributes"],
        day=day,
        month=month,
    )


@settings(max_examples=300)
@given(
    document=documents(st.sampled_from(["multiply", "add", "highest", "first"])),
    bought=lines,
    purchase=purchases,
    day=st.integers(0, 250),
    month=st.integers(0, 350),
)
def test_a_purchase_earns_what_the_slow_way_says(
    document: dict[str, Any], bought: list[dict[str, Any]], purchase: dict[str, Any], day: int, month: int
) -> None:
    earning = earned(document, bought, purchase, day, month)
    exact = oracle.exact_points(document, bought, purchase)
    rounding = document["earning"]["rounding"]
    before_caps = oracle.rounded(exact, rounding)
    assert earning.points == oracle.capped(before_caps, document["earning"].get("caps", {}), day, month)
    assert (earning.before_cap is not None) == (earning.cap is not None) == (earning.points < before_caps)

    weights = [Fraction(weight, earning.scale) for weight in earning.weights]
    if rounding.endswith("per_line"):
        assert weights == [oracle.rounded([each], rounding) for each in exact]
    else:
        assert weights == exact
    assert oracle.rounded(weights, rounding) == before_caps


@settings(max_examples=150)
@given(document=documents(st.just("multiply")), bought=lines, purchase=purchases)
def test_parts_share_out_the_earning_lines(
    document: dict[str, Any], bought: list[dict[str, Any]], purchase: dict[str, Any]
) -> None:
    """Every line with a base is in exactly one part, and base × rate × multiplier of the parts is the exact sum."""
    earning = earned(document, bought, purchase, 0, 0)
    bases = [oracle.base_of(line, document["earning"].get("base", {})) for line in bought]
    earning_lines = [index for index, base in enumerate(bases) if base]
    if len(earning.parts) == 1:
        assert earning.parts[0].lines is None
    else:
        assert sorted(index for part in earning.parts for index in part.lines or []) == earning_lines
    assert earning.base_minor == sum(bases) == sum(part.base_minor for part in earning.parts)
    of_parts = sum(part.base_minor * Fraction(part.rate) * Fraction(part.multiplier) for part in earning.parts)
    assert of_parts == sum(oracle.exact_points(document, bought, purchase))


@settings(max_examples=300)
@given(document=documents(st.none()), bought=lines, purchase=purchases)
def test_accepted_terms_without_stacking_never_meet_two_rules(
    document: dict[str, Any], bought: list[dict[str, Any]], purchase: dict[str, Any]
) -> None:
    """Where two rules met without an order between them, earning would raise."""
    earning = earned(document, bought, purchase, 0, 0)
    assert all(len(part.rules) <= 2 for part in earning.parts)
