"""`loyalty member`: one member on one screen: value, behaviour, satisfaction, balance.

The models of expected value are imported where there is a fit to use: without one the command starts without SciPy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.as_of import balance_as_of
from projections.balances import Balance, read_balance
from projections.lifetime_reads import MemberLifetime, lifetime_as_of, read_lifetime
from projections.member_satisfaction import MemberSatisfaction, read_member_satisfaction, satisfaction_as_of
from service.console import count, instant, say, show_json
from service.instants import INSTANT
from service.reading import freshen, note_if_behind
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import opened

if TYPE_CHECKING:
    from projections.expected_value import ExpectedValue
    from projections.trade_histories import TradeHistory


class MemberScreen(Struct, frozen=True, kw_only=True):
    """Everything about one member.

    `person` is whose expected value and satisfaction they are: the member, or who it is since it was merged. Where
    there is no fit to expect anything by, `expected` is None and `no_expectation` says what makes one.
    """

    programme: str
    currency: str
    person: str
    lifetime: MemberLifetime
    expected: ExpectedValue | None
    no_expectation: str
    satisfaction: MemberSatisfaction
    balance: Balance


@click.command("member")
@click.argument("member")
@click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
@click.option("--as-of", type=INSTANT, default=None, help="Only what had happened by then, as it stood then.")
@click.option("--as-known-at", type=INSTANT, default=None, help="Only what had been recorded by then.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def member_screen(
    settings: Settings,
    member: str,
    programme: str,
    as_of: datetime | None,
    as_known_at: datetime | None,
    as_json: bool,
) -> None:
    """Show MEMBER on one screen: value, behaviour, satisfaction and balance."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        freshen(settings, workspace.database)
        with workspace.database.connection() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # its statements see one state
            screen = read_member_screen(cursor, info, member, as_of, as_known_at)
            cursor.execute("COMMIT")
            if as_of is None and as_known_at is None:
                note_if_behind(settings, cursor, info.journals, "lifetime", "satisfaction", "balances")
    if as_json:
        show_json(screen)
    else:
        _say(screen)


# --- reading --------------------------------------------------------------------------------------------------------


def read_member_screen(
    cursor: PgCursor, info: ProgrammeInfo, member: str, as_of: datetime | None, as_known_at: datetime | None
) -> MemberScreen:
    """Of now from the read models; of the past from the log, with the fit that could be had then."""
    now = datetime.now(UTC)
    past = None if as_of is None and as_known_at is None else (as_of or now, as_known_at or FAR)
    journals, at = info.journals, now if past is None else past[0]

    def lifetime_of(name: str) -> MemberLifetime:
        journal = journal_of(info, name)
        if past is None:
            return read_lifetime(cursor, journals, journal, name, now)
        return lifetime_as_of(cursor, journals, journal, name, *past)

    lifetime = person = lifetime_of(member)
    passed = {member}
    while person.merged_into is not None and person.merged_into not in passed:  # once for each merge on the way
        passed.add(person.merged_into)
        person = lifetime_of(person.merged_into)
    journal = journal_of(info, person.member)
    if past is None:
        satisfaction = read_member_satisfaction(cursor, journals, person.member, at)
        balance = read_balance(cursor, journal_of(info, member), member, at)
    else:
        satisfaction = satisfaction_as_of(cursor, journals, journal, person.member, *past)
        balance = balance_as_of(cursor, journal_of(info, member), member, *past)
    expected, no_expectation = _expected(cursor, info, person, as_known_at or FAR)
    return MemberScreen(
        programme=info.programme.programme,
        currency=info.programme.currency,
        person=person.member,
        lifetime=lifetime,
        expected=expected,
        no_expectation=no_expectation,
        satisfaction=satisfaction,
        balance=balance,
    )


def _expected(
    cursor: PgCursor, info: ProgrammeInfo, person: MemberLifetime, as_known_at: datetime
) -> tuple[ExpectedValue | None, str]:
    """What a person is expected to be worth; or None, and why."""
    if person.merged_into is not None:  # journals at different positions show merges that go round in a circle
        return None, "unknown: a merge is not in yet"
    cursor.execute(
        "SELECT count(*), count(*) FILTER (WHERE purchases_converged AND value_converged) FROM lifetime_value_fits"
        " WHERE programme = %s AND as_of <= %s AND fitted_at <= %s",
        (info.programme.programme, person.on, as_known_at),
    )
    fits, converged = cursor.fetchone() or (0, 0)
    if not converged:
        why = "no fit is kept yet" if not fits else "no fit has converged yet"
        return None, f"unknown: {why} of {person.on} or before; loyalty value-model fit makes one"
    from projections.expected_value import expected_value
    from projections.value_fits import latest_fit

    fit = latest_fit(cursor, info.programme.programme, converged=True, observed_by=person.on, fitted_by=as_known_at)
    assert fit is not None
    return expected_value(fit, _history(person), person.on), ""


def _history(person: MemberLifetime) -> TradeHistory | None:
    """What the models know of a person; None where it made no purchase."""
    from projections.trade_histories import LEFT, TradeHistory

    if person.tenure_days is None or person.recency_days is None:
        return None
    return TradeHistory(
        repeats=person.frequency,
        recency_days=person.tenure_days - person.recency_days,
        age_days=person.tenure_days,
        repeat_value_minor=person.repeat_value_minor,
        revenue_minor=person.revenue_minor,
        cost_minor=(person.goods_cost_minor or 0) + person.attributed_cost_minor,
        uncosted_lines=person.uncosted_lines,
        left=person.membership in LEFT,
    )


# --- saying ---------------------------------------------------------------------------------------------------------


def _say(screen: MemberScreen) -> None:
    found = screen.lifetime
    say(f"{found.member} ({found.membership}) on {found.on}; money in minor units of {screen.currency}")
    if found.merged_into is not None:
        say(f"  merged into {found.merged_into}: loyalty member {screen.person}")
        return
    if len(found.members) > 1:
        say(f"  with {', '.join(found.members[1:])}, merged into it")
    _say_value(found)
    _say_expected(screen)
    _say_behaviour(found)
    _say_satisfaction(screen.satisfaction)
    _say_points(found, screen.balance)


def _say_value(found: MemberLifetime) -> None:
    cost = "unknown" if found.goods_cost_minor is None else f"{found.goods_cost_minor:,}"
    unknown = f"unknown: no cost of {count(found.uncosted_lines, 'line')}"
    say("Value")
    say(f"  revenue {found.revenue_minor:,} = purchased {found.purchased_minor:,} - returned {found.returned_minor:,}")
    say(f"  cost of goods {cost}, attributed {found.attributed_cost_minor:,}")
    say(f"  profit {unknown if found.profit_minor is None else f'{found.profit_minor:,}'}")
    say(f"  average basket {_shown(found.average_basket_minor)}, share of wallet {_percent(found.share_of_wallet)}")


def _say_expected(screen: MemberScreen) -> None:
    expected = screen.expected
    if expected is None:
        say(f"  expected {screen.no_expectation}")
        return
    if expected.basis != "none":
        margin = "" if expected.margin is None else f" (margin {_percent(expected.margin)} of the {expected.margin_of})"
        say(
            f"  expected in the next {expected.horizon_days} days: profit"
            f" {_shown(expected.expected_profit_minor)}{margin}, revenue {_shown(expected.expected_revenue_minor)} ="
            f" {expected.expected_purchases:.2f} purchase days of {_shown(expected.expected_average_minor)}"
        )
        say(f"  alive with a probability of {_percent(expected.probability_alive)}")
    for line in expected.notes:
        say(f"  {line if expected.basis != 'none' else f'expected: nothing is told: {line}'}")
    say(f"  by fit {expected.fit_version}, of members to {expected.fitted_as_of}")


def _say_behaviour(found: MemberLifetime) -> None:
    say("Behaviour")
    say(f"  {found.status}; inactive after {found.inactive_after_days} days without a purchase")
    say(
        f"  purchases {found.purchases:,} on {count(found.purchase_days, 'day')}, returns {found.returns:,},"
        f" units {found.units:,}"
    )
    say(f"  first {_when(found.first_purchase_at)}, last {_when(found.last_purchase_at)}")
    say(
        f"  tenure {_shown(found.tenure_months)} months, {found.months_active} with a purchase;"
        f" recency {_shown(found.recency_days)} days; frequency {found.frequency}"
    )
    say(f"  days between purchases (median) {_shown(found.median_days_between_purchases)}")
    windows = (
        (30, found.repurchased_within_30_days),
        (90, found.repurchased_within_90_days),
        (365, found.repurchased_within_365_days),
    )
    said = {True: "yes", False: "no", None: "not yet known"}
    say("  purchased again within " + ", ".join(f"{days} days: {said[again]}" for days, again in windows))
    say(f"  channels {', '.join(found.channels) or '-'}; stores {', '.join(found.stores) or '-'}")


def _say_satisfaction(found: MemberSatisfaction) -> None:
    say("Satisfaction")
    for answer in found.latest_answers:
        scale = "0 to 100" if answer.instrument == "ACSI" else f"{answer.lowest} to {answer.highest}"
        happy = "satisfied" if answer.satisfied else "not satisfied"
        say(
            f"  {answer.instrument} {answer.score.normalize():f} on {scale}, {happy};"
            f" answered {instant(answer.occurred_at)}"
        )
    if not found.latest_answers:
        say("  no answer that can be scored")
    say(f"  complaints {found.complaints:,}, of them open {len(found.open_complaints):,}")
    for complaint in found.open_complaints:
        about = f" ({complaint.category})" if complaint.category else ""
        say(f"    {complaint.complaint}{about} since {instant(complaint.opened_at)}")
    say(
        f"  follow-ups {found.follow_ups:,}: {found.follow_ups_in_time:,} in time, {found.follow_ups_late:,} late,"
        f" {len(found.open_follow_ups):,} open"
    )
    for promised in found.open_follow_ups:
        about = f" ({promised.reason})" if promised.reason else ""
        due = "overdue since" if promised.overdue else "due"
        say(f"    {promised.follow_up}{about} {due} {instant(promised.due_at)}")


def _say_points(found: MemberLifetime, balance: Balance) -> None:
    say("Points")
    say(f"  balance {balance.balance:,}: active {balance.active:,}, pending {balance.pending:,}, held {balance.held:,}")
    say(
        f"  earned {found.points_earned:,}, redeemed {found.points_redeemed:,} ({_percent(found.redemption_rate)}),"
        f" expired {balance.expired:,}, arrears {balance.arrears:,}"
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _when(at: datetime | None) -> str:
    return "-" if at is None else instant(at)
