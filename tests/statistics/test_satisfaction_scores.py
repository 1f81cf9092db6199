"""Satisfaction figures against the answers one by one, and sums that merge."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import sqrt
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from projections.satisfaction_scores import Sums, acsi, acsi_index, ces, csat, is_top_two, merged, nps, rescaled

zero_to_ten = st.lists(st.integers(0, 10), min_size=1, max_size=60)


def sums(scores: list[int] | list[Fraction]) -> Sums:
    return Sums(count=len(scores), total=sum(scores), squares=sum(score * score for score in scores))


@given(zero_to_ten)
def test_nps_is_the_mean_of_promoters_less_detractors(answers: list[int]) -> None:
    """Each answer counts 1, 0 or −1: the figure is their mean, its error their deviation by √n."""
    marks = [100 * ((answer >= 9) - (answer <= 6)) for answer in answers]
    found = nps(marks.count(100), marks.count(-100), len(answers))
    assert found.value == pytest.approx(fmean(marks))
    deviation = sqrt(sum((mark - fmean(marks)) ** 2 for mark in marks) / len(marks))
    assert found.standard_error == pytest.approx(deviation / sqrt(len(marks)), abs=1e-9)
    assert -100 <= found.lower <= found.value + 1e-9
    assert found.value - 1e-9 <= found.upper <= 100
    assert bool(found.note) == (len(set(marks)) == 1)


def test_nps_worked_by_hand() -> None:
    """50 promoters, 30 passives, 20 detractors: 30, √((0.7 − 0.09)/100)."""
    found = nps(50, 20, 100)
    assert found.value == 30
    assert found.standard_error == pytest.approx(7.8102, abs=5e-5)
    assert (found.lower, found.upper) == (pytest.approx(14.692, abs=5e-4), pytest.approx(45.308, abs=5e-4))
    assert "NPS" in found.method


def test_csat_worked_by_hand() -> None:
    """15 of 20: Wilson's interval from its own formula."""
    found = csat(15, 20)
    assert found.value == 75
    assert found.standard_error == pytest.approx(100 * sqrt(0.75 * 0.25 / 20))
    z = 1.959964
    centre, reach = (15 + z * z / 2) / (20 + z * z), z * sqrt(20) / (20 + z * z) * sqrt(0.75 * 0.25 + z * z / 80)
    assert found.lower == pytest.approx(100 * (centre - reach), abs=1e-4)
    assert found.upper == pytest.approx(100 * (centre + reach), abs=1e-4)
    assert csat(20, 20).upper == 100
    assert csat(20, 20).lower < 90
    assert "0 does not mean certainty" in csat(20, 20).note


@pytest.mark.parametrize("answers", [1, 2, 7, 20, 365, 12_345, 2_000_000])
def test_intervals_are_those_of_the_distributions(answers: int) -> None:
    """The closed forms against SciPy's own tests and distributions."""
    for satisfied in sorted({0, 1, answers // 3, answers // 2, answers - 1, answers}):
        found = csat(satisfied, answers)
        expected = binomtest(satisfied, answers).proportion_ci(0.95, method="wilson")
        assert found.lower == pytest.approx(100 * expected.low, rel=1e-12, abs=1e-12)
        assert found.upper == pytest.approx(100 * expected.high, rel=1e-12)
    spread = Sums(count=answers, total=4 * answers, squares=16 * answers + answers // 2 * 2)
    found = ces(spread)
    if answers == 1:
        assert found.lower is None
        return
    reach = t.ppf(0.975, answers - 1) * found.standard_error
    assert (found.lower, found.upper) == (pytest.approx(max(1, 4 - reach)), pytest.approx(min(7, 4 + reach)))
    shares = nps(answers // 2, answers // 3, answers)
    assert shares.upper == min(100, shares.value + norm.ppf(0.975) * shares.standard_error)


@pytest.mark.parametrize(
    ("score", "scale", "top"),
    [(4, (1, 5), True), (3, (1, 5), False), (6, (1, 7), True), (5, (1, 7), False), (Decimal("8.9"), (0, 10), False)],
)
def test_the_top_two_boxes_are_those_of_the_scale(score: int, scale: tuple[int, int], top: bool) -> None:
    assert is_top_two(score, scale) is top


@given(st.lists(st.integers(1, 7), min_size=2, max_size=60))
def test_ces_is_the_mean(answers: list[int]) -> None:
    found = ces(sums(answers))
    assert found.value == pytest.approx(fmean(answers))
    assert found.standard_error == pytest.approx(stdev(answers) / sqrt(len(answers)))
    assert 1 <= found.lower <= found.upper <= 7


@given(
    st.lists(st.lists(st.integers(0, 10), min_size=1, max_size=9), min_size=1, max_size=6),
    st.sampled_from([(0, 10), (-3, 12), (0, 100)]),
)
def test_sums_merge_and_rescale_exactly(periods: list[list[int]], scale: tuple[int, int]) -> None:
    """Merged and carried over to 1–7, or each answer carried over by hand: the same to the last digit."""
    lowest, highest = scale
    by_hand = [1 + Fraction(6 * (answer - lowest), highest - lowest) for period in periods for answer in period]
    assert rescaled(merged(map(sums, periods)), scale, (1, 7)) == sums(by_hand)
    assert ces(merged(map(sums, periods)), scale) == ces(sums(by_hand))


def test_sums_without_squares_give_no_error() -> None:
    kept = Sums(count=4, total=Decimal("22.5"))
    found = ces(merged([kept, sums([7, 7])]))
    assert found.value == pytest.approx(36.5 / 6)
    assert found.standard_error is None
    assert found.note == "no squares are kept: no standard error"


def test_acsi() -> None:
    """Three questions on 1 to 10: 8, 7 and 6, equally weighted, are 100 · (7 − 1) / 9."""
    assert acsi_index([8, 7, 6], (1, 10)) == Fraction(200, 3)
    assert acsi_index([10, 10, 10], (1, 10)) == 100
    assert acsi_index([1, 1, 1], (1, 10)) == 0
    assert acsi_index([8, 7, 6], (1, 10), [2, 1, 1]) == Fraction(100 * 25, 36)
    assert acsi_index([3, 3, Decimal("4.5")], (1, 5)) == Fraction(125, 2)
    found = acsi(sums([Fraction(200, 3), Fraction(100)]))
    assert found.value == pytest.approx(83.3333, abs=5e-5)
    assert found.standard_error == pytest.approx(16.6667, abs=5e-5)
    assert found.upper == 100
    assert "equal weights" in found.method
    assert "given weights" in acsi(sums([50]), weighted=True).method


@given(st.lists(st.tuples(*[st.integers(1, 10)] * 3), min_size=1, max_size=20), st.tuples(*[st.integers(1, 9)] * 3))
def test_the_index_of_mean_answers_is_the_mean_of_the_indices(
    answers: list[tuple[int, int, int]], weights: tuple[int, int, int]
) -> None:
    means = [Fraction(sum(column), len(answers)) for column in zip(*answers, strict=True)]
    indices = [acsi_index(answer, (1, 10), weights) for answer in answers]
    assert acsi_index(means, (1, 10), weights) == sum(indices) / len(indices)


def test_nothing_answered_is_no_figure() -> None:
    empty = Sums(count=0, total=0, squares=0)
    for found in (nps(0, 0, 0), csat(0, 0), ces(empty), acsi(empty)):
        assert (found.value, found.standard_error, found.lower, found.upper) == (None, None, None, None)
        assert found.note == "nothing was answered"
        assert found.method


def test_one_answer_has_a_value_and_no_error() -> None:
    found = ces(sums([5]))
    assert (found.value, found.standard_error, found.note) == (5, None, "one answer has no standard error")


def test_what_cannot_be_is_refused() -> None:
    for call, message in (
        (lambda: nps(3, 3, 5), "3 \\+ 3 are more than 5"),
        (lambda: nps(-1, 0, 5), "promoters: must be from 0 to the number of answers, 5; is -1"),
        (lambda: csat(6, 5), "satisfied: must be from 0"),
        (lambda: csat(0, -1), "answers: must be at least 0"),
        (lambda: ces(Sums(count=2, total=15)), "2 scores from 1 to 7 cannot sum to 15"),
        (lambda: ces(Sums(count=2, total=8, squares=31)), "squares: 31 is less than"),
        (lambda: ces(sums([3]), (5, 5)), "its lowest point must be below its highest"),
        (lambda: is_top_two(6, (1, 5)), "score: must be from 1 to 5, is 6"),
        (lambda: acsi_index([], (1, 10)), "at least one question"),
        (lambda: acsi_index([0], (1, 10)), "must be from 1 to 10, is 0"),
        (lambda: acsi_index([1, 2], (1, 10), [1]), "one for each of 2 questions"),
        (lambda: acsi_index([1, 2], (1, 10), [0, 0]), "not all 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
