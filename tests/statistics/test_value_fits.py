"""Expected lifetime value from the read model: what is read, what is fitted and kept, and what is said of a member."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from eventsourcing.persistence import PersistenceError
from msgspec.structs import astuple, replace

from ledger.store.database import Database, connect
from projections.expected_value import expected_value, expected_values
from projections.trade_histories import (
    TradeHistories,
    TradeHistory,
    read_trade_histories,
    read_trade_history,
)
from projections.value_fits import CannotFit, Fit, fit_histories, fit_programme, latest_fit
from service.cli_expected import value_model_group
from service.settings import Settings
from tests.statistics.read_model import Day, cdnow_days, fill, programme
from tests.statistics.simulated import simulated_averages, simulated_purchases

AT = datetime(1997, 9, 30, 23, tzinfo=UTC)
ON = AT.date()

FIT = Fit(
    programme="cdnow", version=3, fitted_at=AT, as_of=ON, months=9.0, members=2357, repeaters=946, spenders=946,
    time_unit="week", method="", purchases_converged=True, purchases_message="", purchases_log_likelihood=-9582.43,
    r=0.2426, alpha=4.4136, a=0.7929, b=2.4259, r_se=0.1, alpha_se=0.1, a_se=0.1, b_se=0.1, value_converged=True,
    value_message="", value_log_likelihood=-4055.92, p=6.2496, q=3.7442, v=1544.35, p_se=0.1, q_se=0.1, v_se=0.1,
    margin=0.4, margin_members=12,
)  # fmt: skip

REPEATER = TradeHistory(
    repeats=2, recency_days=213, age_days=272, repeat_value_minor=4472, revenue_minor=7000, cost_minor=5250,
    uncosted_lines=0, left=False,
)  # fmt: skip


# --- reading --------------------------------------------------------------------------------------------------------


def by_hand(days: list[Day], survivors: dict[str, str], statuses: dict[str, str], on: date) -> dict[str, TradeHistory]:
    """Histories of persons, one at a time."""

    def person(member: str) -> str:
        while member in survivors:
            member = survivors[member]
        return member

    found = {}
    for name in {person(day.member) for day in days}:
        mine = [day for day in days if person(day.member) == name and day.day <= on]
        bought = sorted({day.day for day in mine if day.purchases})
        if bought:
            found[name] = TradeHistory(
                repeats=len(bought) - 1,
                recency_days=(bought[-1] - bought[0]).days,
                age_days=(on - bought[0]).days,
                repeat_value_minor=sum(day.revenue - day.returned for day in mine if day.day > bought[0]),
                revenue_minor=sum(day.revenue - day.returned for day in mine),
                cost_minor=sum(day.cost for day in mine),
                uncosted_lines=sum(day.uncosted for day in mine),
                left=statuses.get(name) in ("closed", "erased"),
            )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_histories_are_those_of_persons(database: Database, seed: int) -> None:
    """Random trade over three journals, with chains of merges, days of returns alone, and days after the day asked."""
    chance = random.Random(seed)
    names = [f"m{number}" for number in range(60)]
    days = [
        Day(
            name,
            ON - timedelta(days=chance.randint(-20, 120)),
            purchases=chance.choice((0, 1, 1, 3)),
            revenue=chance.randint(0, 500),
            returned=chance.choice((0, 0, 300)),
            cost=chance.randint(-50, 200),
            uncosted=chance.choice((0, 0, 0, 2)),
        )
        for name in names
        for _ in range(chance.randint(0, 6))
    ]
    days = list({(day.member, day.day): day for day in days}.values())
    survivors = {names[index]: names[chance.randint(index + 1, 59)] for index in chance.sample(range(59), 25)}
    statuses = {name: chance.choice(("open", "closed", "erased")) for name in names if name not in survivors}
    journals = programme(database, "club", 3)
    other = programme(database, "other")
    fill(database, journals, days, survivors, statuses)
    fill(database, other, [Day("m1", ON, revenue=5)])
    expected = by_hand(days, survivors, statuses, ON)
    assert any(history.left for history in expected.values())
    with database.connection() as cursor:
        found = read_trade_histories(cursor, journals, ON)
        cursor.execute("SELECT member, journal FROM lifetime WHERE journal = ANY (%s)", (journals,))
        each = {
            member: read_trade_history(cursor, journals, journal, member, ON) for member, journal in cursor.fetchall()
        }
    columns = (getattr(found, name).tolist() for name in TradeHistories.__struct_fields__)
    assert sorted(zip(*columns, strict=True)) == sorted(astuple(history) for history in expected.values())
    assert {member: history for member, history in each.items() if history} == expected
    assert set(each) == {day.member for day in days} | set(survivors) | set(statuses)


def test_a_programme_without_trade_has_no_histories(database: Database) -> None:
    journals = programme(database, "club", 2)
    with database.connection() as cursor:
        assert len(read_trade_histories(cursor, journals, ON).repeats) == 0


# --- fitting --------------------------------------------------------------------------------------------------------


def test_cdnow_is_fitted_through_the_database_and_kept_in_versions(database: Database, database_dsn: str) -> None:
    """The published figures from days in three journals; money in cents, so v is a hundred times that in dollars."""
    fill(database, programme(database, "cdnow", 3), cdnow_days())
    with database.connection() as cursor:
        assert latest_fit(cursor, "cdnow") is None
        first = fit_programme(cursor, "cdnow", AT)
        second = fit_programme(cursor, "cdnow", AT + timedelta(days=7))
        assert latest_fit(cursor, "cdnow") == second
    assert [round(value, 4) for value in (first.r, first.alpha, first.a, first.b)] == [0.2426, 4.4136, 0.7929, 2.4259]
    assert (first.p, first.q, first.v) == pytest.approx((6.2496, 3.7442, 1544.35), rel=1e-4)
    assert first.purchases_log_likelihood == pytest.approx(-9582.43, abs=0.005)
    assert (first.version, first.as_of, first.members, first.repeaters, first.spenders) == (1, ON, 2357, 946, 946)
    assert (first.converged, first.margin, first.margin_members) == (True, None, 0)
    assert first.months == pytest.approx(8.94, abs=0.01)
    assert (second.version, second.as_of) == (2, date(1997, 10, 7))
    with database.connection() as cursor:
        cursor.execute(
            "INSERT INTO lifetime_value_fits SELECT (jsonb_populate_record(fits, jsonb_build_object("
            "'version', 3, 'value_converged', false, 'p_se', null, 'q_se', null, 'v_se', null))).*"
            " FROM lifetime_value_fits fits WHERE version = 2"
        )
        assert latest_fit(cursor, "cdnow").version == 3
        assert latest_fit(cursor, "cdnow", converged=True) == second


def test_a_fit_is_never_changed(database: Database, database_dsn: str) -> None:
    fill(database, programme(database, "cdnow"), cdnow_days())
    with database.connection() as cursor:
        kept = fit_programme(cursor, "cdnow", AT)
    for statement in ("UPDATE lifetime_value_fits SET r = 1", "DELETE FROM lifetime_value_fits"):
        with pytest.raises(PersistenceError, match="permission denied"), database.connection() as cursor:
            cursor.execute(statement)
        owner = connect(database_dsn)
        try:
            with pytest.raises(Exception, match="lifetime_value_fits refuses"), owner.cursor() as cursor:
                cursor.execute(statement)
        finally:
            owner.close()
    with database.connection() as cursor:
        assert latest_fit(cursor, "cdnow") == kept


def test_readers_see_the_fits(database: Database, database_dsn: str) -> None:
    fill(database, programme(database, "cdnow"), cdnow_days())
    with database.connection() as cursor:
        kept = fit_programme(cursor, "cdnow", AT)
    reader = connect(database_dsn, "loyalty_reader")
    try:
        with reader.cursor() as cursor:
            cursor.execute("SELECT programme, version, r, r_se FROM loyalty_read.lifetime_value_fits")
            assert cursor.fetchall() == [("cdnow", 1, kept.r, kept.r_se)]
            cursor.execute(
                "SELECT count(*), count(col_description(attrelid, attnum)) FROM pg_attribute"
                " WHERE attrelid = 'loyalty_read.lifetime_value_fits'::regclass AND attnum > 0"
            )
            columns, described = cursor.fetchone()
            assert columns == described == len(Fit.__struct_fields__)
    finally:
        reader.close()


def test_the_day_of_a_fit_is_that_of_the_programmes_time_zone(database: Database) -> None:
    fill(database, programme(database, "cdnow", time_zone="Asia/Shanghai"), cdnow_days())
    with database.connection() as cursor:
        assert fit_programme(cursor, "cdnow", AT).as_of == date(1997, 10, 1)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ([], "no member has a purchase yet"),
        (
            [Day(f"m{n}", ON - timedelta(days=9 * k), revenue=5) for n in range(49) for k in (1, 2)],
            "49 of 49 members purchased on two days or more; a fit needs at least 50",
        ),
        (
            [Day(f"m{n}", ON - timedelta(days=n + 9 * k), revenue=5) for n in range(60) for k in (1, 2)],
            "the average value is 5 for every customer; it must vary",
        ),
        (
            [Day(f"m{n}", ON - timedelta(days=n + 9 * k), returned=5) for n in range(60) for k in (1, 2)],
            "0 members have repeat purchases of a value above 0 net of returns; a fit needs at least 50",
        ),
    ],
    ids=["nothing", "too small", "constant value", "returns alone"],
)
def test_data_that_carries_no_fit_is_refused_and_nothing_kept(
    database: Database, days: list[Day], message: str
) -> None:
    fill(database, programme(database, "club"), days)
    with database.connection() as cursor:
        with pytest.raises(CannotFit, match=message):
            fit_programme(cursor, "club", AT)
        assert latest_fit(cursor, "club") is None
        with pytest.raises(CannotFit, match="there is no programme 'nowhere'"):
            fit_programme(cursor, "nowhere", AT)


def test_a_search_without_a_maximum_is_kept_as_not_converged(database: Database) -> None:
    """All purchase every 9 days to the last: nobody leaves, and rates do not vary."""
    days = [
        Day(f"m{n}", ON - timedelta(days=9 * k), revenue=100 + (n * 7 + k * 13) % 50)
        for n in range(60)
        for k in range(4)
    ]
    fill(database, programme(database, "club"), days)
    with database.connection() as cursor:
        kept = fit_programme(cursor, "club", AT)
        assert latest_fit(cursor, "club") == kept
    assert not kept.purchases_converged
    assert kept.r_se is None
    assert kept.purchases_message.startswith("not converged: ")
    with pytest.raises(CannotFit, match=r"fit 1 of club did not converge.*purchases: not converged: "):
        expected_value(kept, REPEATER, ON)


# --- expectations ---------------------------------------------------------------------------------------------------


def test_a_member_of_cdnow_by_hand() -> None:
    """Fader, Hardie and Lee's worked customer: x = 2, t_x = 30.43, T = 38.86 buys 1.226 times in the next 39 weeks."""
    from projections.bg_nbd import expected_purchases

    assert expected_purchases(FIT.purchases_model, 2, 30.43, 38.86, 39).item() == pytest.approx(1.226, abs=5e-4)
    found = expected_value(FIT, REPEATER, ON)
    yearly = expected_purchases(FIT.purchases_model, 2, 213 / 7, 272 / 7, 365 / 7).item()
    average = 6.2496 * (1544.35 + 4472) / (6.2496 * 2 + 3.7442 - 1)
    assert (found.basis, found.horizon_days, found.fit_version, found.notes) == ("own purchases", 365, 3, [])
    assert found.expected_purchases == yearly
    assert found.expected_average_minor == round(average)
    assert found.expected_revenue_minor == round(yearly * average)
    assert (found.margin, found.margin_of) == (0.25, "member")
    assert found.expected_profit_minor == round(0.25 * yearly * average)


def test_a_prospect_and_one_who_left_have_no_estimate() -> None:
    prospect = expected_value(FIT, None, ON)
    left = expected_value(FIT, replace(REPEATER, left=True), ON)
    for found in (prospect, left):
        assert found.basis == "none"
        assert found.probability_alive is found.expected_purchases is found.expected_profit_minor is None
    assert "a prospect has no estimate" in prospect.notes[0]
    assert "the membership has ended" in left.notes[0]


def test_one_purchase_is_answered_from_the_population_and_says_so() -> None:
    once = replace(REPEATER, repeats=0, recency_days=0, repeat_value_minor=0)
    found = expected_value(FIT, once, ON)
    assert (found.basis, found.probability_alive) == ("population", 1.0)
    assert found.expected_average_minor == round(6.2496 * 1544.35 / 2.7442)
    assert 0 < found.expected_purchases < expected_value(FIT, REPEATER, ON).expected_purchases
    assert "1 by assumption" in found.notes[0]
    endless = expected_value(replace(FIT, q=0.9), once, ON)
    assert endless.expected_purchases == found.expected_purchases
    assert endless.expected_revenue_minor is endless.expected_profit_minor is None
    assert "no finite mean value" in endless.notes[1]


def test_profit_without_known_costs_is_by_the_programme_or_unknown() -> None:
    some = replace(REPEATER, uncosted_lines=1)
    found = expected_value(FIT, some, ON)
    assert (found.margin, found.margin_of) == (0.4, "programme")
    assert found.expected_profit_minor == pytest.approx(0.4 * found.expected_revenue_minor, abs=1)
    assert "the margin is that of the 12 members" in found.notes[0]
    unknown = expected_value(replace(FIT, margin=None, margin_members=0), some, ON)
    assert (unknown.margin, unknown.margin_of, unknown.expected_profit_minor) == (None, None, None)
    assert unknown.expected_revenue_minor == found.expected_revenue_minor
    assert "profit is unknown" in unknown.notes[0]


def test_returns_that_outweigh_purchases_count_as_no_value() -> None:
    found = expected_value(FIT, replace(REPEATER, repeat_value_minor=-900), ON)
    assert (
        found.expected_revenue_minor
        == expected_value(FIT, replace(REPEATER, repeat_value_minor=0), ON).expected_revenue_minor
    )
    assert found.notes == ["returns outweigh the repeat purchases: their average counts as 0"]


def test_a_whole_programme_at_once_is_its_members_one_by_one() -> None:
    chance = np.random.default_rng(1)
    x, t_x, t = simulated_purchases(FIT.purchases_model, 300, seed=2)
    value = np.where(x > 0, simulated_averages(FIT.value_model, np.maximum(x, 1), seed=3) * x, 0)
    customers = TradeHistories(
        repeats=x,
        recency_days=np.where(x > 0, np.maximum(1, np.rint(7 * t_x)), 0).astype(np.int64),
        age_days=np.rint(7 * t).astype(np.int64),
        repeat_value_minor=value.astype(np.int64),
        revenue_minor=value.astype(np.int64) + 1000,
        cost_minor=np.full(300, 700),
        uncosted_lines=chance.integers(0, 2, 300),
        left=chance.random(300) < 0.1,
    )
    found = expected_values(FIT, customers)
    for index in range(300):
        one = TradeHistory(**{name: getattr(customers, name)[index].item() for name in TradeHistory.__struct_fields__})
        single = expected_value(FIT, one, ON)
        if one.left:
            assert found.expected_purchases[index] == found.expected_revenue_minor[index] == 0
        else:
            assert single.expected_purchases == pytest.approx(found.expected_purchases[index], rel=1e-9)
            assert single.expected_profit_minor == round(found.expected_profit_minor[index])
            assert (single.margin_of == "member") == found.margin_is_own[index]


def test_the_margin_of_the_programme_is_of_members_with_known_costs() -> None:
    x, t_x, t = simulated_purchases(FIT.purchases_model, 3000, seed=5)
    value = np.where(x > 0, simulated_averages(FIT.value_model, np.maximum(x, 1), seed=6) * x, 0).astype(np.int64)
    uncosted = (np.arange(3000) % 3 == 0).astype(np.int64)
    customers = TradeHistories(
        repeats=x,
        recency_days=np.where(x > 0, np.maximum(1, np.rint(7 * t_x)), 0).astype(np.int64),
        age_days=np.rint(7 * t).astype(np.int64),
        repeat_value_minor=value,
        revenue_minor=value + 1000,
        cost_minor=np.where(uncosted, 0, (value + 1000) // 2),
        uncosted_lines=uncosted,
        left=np.zeros(3000, bool),
    )
    found = fit_histories(customers)
    assert found.purchases.converged
    assert found.value.converged
    assert found.margin == pytest.approx(0.5, abs=1e-3)
    assert found.margin_members == 2000


# --- the command line -----------------------------------------------------------------------------------------------


def test_fits_are_made_and_shown_on_the_command_line(database: Database, database_dsn: str) -> None:
    fill(database, programme(database, "cdnow"), cdnow_days())
    settings = Settings.from_environment({"LOYALTY_DATABASE_URL": database_dsn})

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(value_model_group, arguments, obj=settings)
        return result.exit_code, result.output

    assert run("show") == (1, "Error: no fit is kept yet: loyalty value-model fit\n")
    code, text = run("fit", "--as-of", "1997-09-30T23:00:00Z")
    assert code == 0, text
    assert "log-likelihood -9582.43" in text
    assert "margin unknown, no costs are known" in text
    code, text = run("show", "--json")
    assert code == 0, text
    shown = json.loads(text)
    assert (shown["version"], shown["as_of"], shown["converged"]) == (1, "1997-09-30", True)
    assert shown["alpha"] == pytest.approx(4.4136, abs=5e-5)
    code, text = run("fit", "--as-of", "2999-01-01T00:00:00Z")
    assert code == 2
    assert "must not be in the future" in text
    code, text = run("fit", "--as-of", "1990-01-01T00:00:00Z")
    assert (code, text) == (1, "Error: nothing fitted: no member has a purchase yet\n")


def test_the_command_line_starts_without_scipy() -> None:
    """Only the commands that fit or show load it."""
    import subprocess
    import sys

    script = "import sys, service.cli_expected; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 0
