"""What `read_lifetime` says of one member, of now and as of the past."""

from __future__ import annotations

from datetime import date

import pytest

from ledger.store.database import Database
from ledger.values import FAR
from projections.lifetime_reads import MemberLifetime, lifetime_as_of, read_lifetime
from tests.lifetime.events import (
    Programme,
    accrued,
    analysis,
    at,
    charged,
    enrolled,
    merged,
    purchased,
    redeemed,
    returned,
    surveyed,
    unmerged,
)


def read(programme: Programme, member: str, days: float) -> MemberLifetime:
    programme.project()
    with programme.database.connection() as cur:
        return read_lifetime(cur, programme.journals, programme.journal_of(member), member, at(days))


def as_of(programme: Programme, member: str, days: float) -> MemberLifetime:
    with programme.database.connection() as cur:
        return lifetime_as_of(cur, programme.journals, programme.journal_of(member), member, at(days), FAR)


def test_every_figure_of_a_member(database: Database) -> None:
    programme = Programme(database, 2)
    programme.record(
        enrolled("ann", 0),
        purchased("ann", 1, (2, 1000, 600), (1, 500, 100), channel="pos", store="S2"),
        accrued("ann", 1, 15),
        purchased("ann", 1.1, (1, 300, 200), channel="app", store="S1"),
        purchased("ann", 40, (1, 700, 300), channel="pos", store="S1"),
        purchased("ann", 50, (4, 801, 400)),
        returned("ann", 55, 400, 200, quantity=2),
        charged("ann", 60, 50),
        surveyed("ann", 58, 10_000),
        redeemed("ann", 61, 6),
    )
    found = read(programme, "ann", 100)
    assert (found.membership, found.merged_into, found.status) == ("open", None, "active")
    assert (found.first_purchase_at, found.last_purchase_at) == (at(1), at(50))
    assert (found.purchases, found.purchase_days, found.returns, found.units) == (4, 3, 1, 7)
    assert (found.purchased_minor, found.returned_minor, found.revenue_minor) == (3301, 400, 2901)
    assert (found.goods_cost_minor, found.attributed_cost_minor, found.uncosted_lines) == (1400, 50, 0)
    assert found.profit_minor == 2901 - 1400 - 50
    assert found.average_basket_minor == 825  # 825.25
    assert (found.tenure_days, found.tenure_months, found.months_active) == (99, 3, 2)
    assert (found.recency_days, found.frequency) == (50, 2)
    assert found.median_days_between_purchases == 24.5  # 39 and 10
    assert found.repurchased_within_30_days is False
    assert found.repurchased_within_90_days is True
    assert found.repurchased_within_365_days is True
    assert found.share_of_wallet == pytest.approx(0.2901)
    assert (found.points_earned, found.points_redeemed, found.redemption_rate) == (15, 6, 0.4)
    assert (found.channels, found.stores) == (["app", "pos"], ["S1", "S2"])
    assert as_of(programme, "ann", 100) == found


def test_profit_is_unknown_where_a_cost_is(database: Database) -> None:
    """Neither zero nor that of the other lines."""
    programme = Programme(database)
    programme.record(enrolled("ann", 0), purchased("ann", 1, (1, 1000, 600), (1, 500, None)))
    found = read(programme, "ann", 2)
    assert (found.profit_minor, found.goods_cost_minor, found.uncosted_lines) == (None, None, 1)
    programme.record(enrolled("bob", 0), purchased("bob", 1, (1, 1000, 600)), returned("bob", 2, 1000, None))
    assert (read(programme, "bob", 2).profit_minor, read(programme, "bob", 2).uncosted_lines) == (None, 1)


def test_a_member_never_heard_of_and_one_without_purchase(database: Database) -> None:
    programme = Programme(database)
    programme.record(enrolled("ann", 0))
    for found in (read(programme, "nobody", 5), read(programme, "ann", 5), as_of(programme, "nobody", 5)):
        assert (found.status, found.purchases, found.profit_minor) == ("prospect", 0, 0)
        assert found.tenure_days is found.recency_days is found.average_basket_minor is None
        assert found.repurchased_within_30_days is found.share_of_wallet is found.redemption_rate is None
    assert read(programme, "nobody", 5).membership == "unknown"


def test_a_repurchase_is_open_until_its_window_has_passed(database: Database) -> None:
    programme = Programme(database)
    programme.record(enrolled("ann", 0), purchased("ann", 1, (1, 10, 1)), purchased("ann", 1.2, (1, 10, 1)))
    assert read(programme, "ann", 31).repurchased_within_30_days is None
    assert read(programme, "ann", 32).repurchased_within_30_days is False
    programme.record(purchased("ann", 31, (1, 10, 1)))
    assert read(programme, "ann", 32).repurchased_within_30_days is True


def test_the_threshold_of_inactivity_is_the_programmes_own(database: Database) -> None:
    """365 days until it is set; then the newest setting."""
    programme = Programme(database, 3)
    programme.record(enrolled("ann", 0), purchased("ann", 0, (1, 10, 1)))
    assert [read(programme, "ann", days).status for days in (365, 366)] == ["active", "inactive"]
    programme.record(analysis(1, 1, 10, [("all", "100")]), analysis(2, 2, 30, [("all", "100")]))
    assert [read(programme, "ann", days).status for days in (30, 31)] == ["active", "inactive"]
    assert as_of(programme, "ann", 31).status == "inactive"
    assert as_of(programme, "ann", 0.5).inactive_after_days == 365


def test_days_are_those_of_the_programme(database: Database) -> None:
    """22:00 in London is the next day in Shanghai, where both purchases are on one day."""
    programme = Programme(database, time_zone="Asia/Shanghai")
    programme.record(enrolled("ann", 0), purchased("ann", 10 / 24, (1, 10, 1)), purchased("ann", 25 / 24, (1, 10, 1)))
    found = read(programme, "ann", 2)
    assert (found.purchases, found.purchase_days) == (2, 1)
    with database.connection() as cur:
        cur.execute("SELECT day, purchases FROM trade_days")
        assert cur.fetchall() == [(date(2026, 1, 2), 2)]


def test_merged_members_are_one_person_until_it_is_undone(database: Database) -> None:
    """Over journals, and in chains; the merged member says where its figures are."""
    programme = Programme(database, 4)
    names = ["ann", "bob", "cat"]
    for number, name in enumerate(names):
        programme.record(
            enrolled(name, number),
            purchased(name, 5 + 10 * number, (1, 100, 60), channel=name),
            surveyed(name, 10 - number, 1000 * (1 + number)),
            accrued(name, 5, 10),
        )
    programme.record(*merged("ann", "bob", 30), *merged("bob", "cat", 31))
    person = read(programme, "cat", 40)
    assert person.members == ["cat", "ann", "bob"]
    assert (person.purchases, person.revenue_minor, person.profit_minor, person.points_earned) == (3, 300, 120, 30)
    assert (person.enrolled_at, person.first_purchase_at, person.last_purchase_at) == (at(0), at(5), at(25))
    assert (person.frequency, person.median_days_between_purchases, person.channels) == (2, 10.0, names)
    assert person.yearly_spend_minor == 1000
    gone = read(programme, "ann", 40)
    assert (gone.membership, gone.merged_into, gone.purchases) == ("merged", "bob", 0)
    assert as_of(programme, "cat", 40) == person
    assert as_of(programme, "cat", 30.5).members == ["cat"]
    assert as_of(programme, "bob", 30.5).purchases == 2
    programme.record(*unmerged("bob", "cat", 41))
    assert read(programme, "cat", 45).purchases == 1
    assert read(programme, "bob", 45).members == ["bob", "ann"]
    assert as_of(programme, "bob", 45) == read(programme, "bob", 45)


def test_a_tie_of_surveys_is_settled_by_what_was_recorded_later(database: Database) -> None:
    programme = Programme(database)
    programme.record(enrolled("ann", 0), surveyed("ann", 5, 100), surveyed("ann", 5, 200), surveyed("ann", 1, 300))
    assert read(programme, "ann", 9).yearly_spend_minor == 200
