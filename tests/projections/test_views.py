"""What readers of the database see: every view is theirs, described to the last column, and says what Python says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import astuple

from ledger.store.database import Database, connect
from ledger.values import FAR
from projections.balances import read_balance
from projections.charts import read_chart
from projections.focus import read_audits
from projections.lifetime_reads import read_lifetime
from projections.member_satisfaction import read_member_satisfaction
from projections.programme_value import read_cohorts, read_programme_value
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.satisfaction_members import read_latest_answers, read_merged_members
from projections.statement import read_statement
from projections.steering_rows import Budget, CorrectiveAction, Measurement, Nonconformity, Objective, read_rows
from projections.timelines import read_timeline
from service.read_models import read_models
from tests.cli.running import COFFEE, Loyalty
from tests.projections.test_all_together import FullHistory, FullSteering, record_all
from tests.satisfaction.histories import ZONE, journal_of, new_programme

OF_NO_PROGRAMME = {"source_files"}
TABLES_WITHOUT_A_VIEW = {
    "focus_items": "in focus_assessments",
    "lifetime": "in member_lifetime",
    "lifetime_analysis": "how the programme has set it is in its log",
    "lifetime_last_days": "a help to count active members",
    "lifetime_profits": "a help to draw the whale curve",
    "lifetime_totals": "in programme_value",
    "liability_activity": "in liability_cut_off",
    "liability_layers": "in liability_open_points",
    "liability_lots": "a help to find the vintage of a lot",
    "cohort_months": "in cohorts",
    "satisfaction_members": "in member_lifetime and member_profiles",
}


class Recorded:
    """A history of every kind in two journals, with merges of merged members, folded in; and who reads it."""

    def __init__(self, database: Database, reader: Any) -> None:
        self.history = FullHistory(4, 300, members=7)
        self.journals = new_programme(database, "club", 2)
        events = [*self.history.events, *FullSteering(3, 120).events]
        record_all(database, self.journals, events, {})
        Runner(database, read_models()).run_once()
        self.cur = reader
        self.now = datetime.now(UTC)

    def view(self, view: str, columns: Sequence[str], where: str = "true", *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a view of the programme."""
        self.cur.execute(
            f"SELECT {', '.join(columns)} FROM loyalty_read.{view} WHERE programme = 'club' AND {where}", values
        )
        return list(self.cur.fetchall())

    def family(self, member: str) -> list[str]:
        return read_merged_members(self.cur, self.journals, member)


@pytest.fixture
def reader(database_dsn: str) -> Iterator[Any]:
    """A cursor that may do what readers may, in the schema of the tables."""
    connection = connect(database_dsn, "loyalty_reader")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("loyalty_reader",)
            yield cursor
    finally:
        connection.close()


@pytest.fixture
def recorded(database: Database, reader: Any) -> Recorded:
    return Recorded(database, reader)


def views(cur: Any) -> list[str]:
    cur.execute("SELECT viewname FROM pg_views WHERE schemaname = 'loyalty_read' ORDER BY viewname")
    return [name for (name,) in cur.fetchall()]


def test_every_view_is_readable_and_every_column_described_also_after_a_rebuild(
    database: Database, database_dsn: str, reader: Any
) -> None:
    new_programme(database, "club")
    for _ in range(2):
        names = views(reader)
        for name in names:
            reader.execute(f"SELECT * FROM loyalty_read.{name}")
            assert reader.description[0].name == "programme" or name in OF_NO_PROGRAMME, name
        reader.execute(
            "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
            " WHERE relnamespace = 'loyalty_read'::regnamespace AND attnum >= 0"
            " AND coalesce(col_description(pg_class.oid, attnum), '') = ''"
            " UNION ALL SELECT relname, '(the view)' FROM pg_class"
            " WHERE relnamespace = 'loyalty_read'::regnamespace AND obj_description(oid, 'pg_class') IS NULL"
        )
        assert reader.fetchall() == []
        tables = {table for model in read_models() for table in model.tables}
        assert tables - set(names) == set(TABLES_WITHOUT_A_VIEW)
        rebuild(database_dsn, read_models())


def test_readers_can_change_nothing_through_a_view(reader: Any) -> None:
    for name in views(reader):
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            reader.execute("SELECT has_table_privilege(%s, %s)", (f"loyalty_read.{name}", privilege))
            assert reader.fetchone() == (False,), (name, privilege)


def test_freshness_is_what_checkpoints_and_journals_say(database: Database, database_dsn: str, reader: Any) -> None:
    """Of a read model that has folded some, of one that has not begun in a journal, and of none that is folded."""
    columns = "programme, journal, read_model, position_folded, position_recorded, behind, updated_at"

    def freshness() -> list[Any]:
        reader.execute(f"SELECT {columns} FROM loyalty_read.freshness ORDER BY journal, read_model")
        return list(reader.fetchall())

    first, *_ = journals = new_programme(database, "club", 2)
    record_all(database, journals, FullHistory(1, 40, members=7).events, {})
    assert freshness() == []
    points = [model for model in read_models() if model.name in ("balances", "statement")]
    Runner(database, points, batch_events_max=5).run_once()
    other = new_programme(database, "later")
    with database.connection() as cur:
        cur.execute("SELECT journal, position FROM journals")
        recorded = dict(cur.fetchall())
        cur.execute("UPDATE projections SET position = 5 WHERE journal = %s AND projection = 'balances'", (first,))
        cur.execute("SELECT journal, projection, updated_at FROM projections")
        moved = {(journal, name): at for journal, name, at in cur.fetchall()}
    folded = recorded | dict.fromkeys(other, 0)
    assert recorded[first] > 5
    assert freshness() == [
        (programme, journal, model, at, recorded[journal], recorded[journal] - at, moved.get((journal, model)))
        for programme, its in (("club", journals), ("later", other))
        for journal in its
        for model in ("balances", "statement")
        for at in [5 if (journal, model) == (first, "balances") else folded[journal]]
    ]
    rebuild(database_dsn, points)
    assert {(row[2], row[5]) for row in freshness() if row[0] == "club"} == {("balances", 0), ("statement", 0)}


def test_views_of_points_say_what_python_says(recorded: Recorded) -> None:
    names = ("balance", "active", "pending", "held", "spent", "expired", "arrears", "version", "position")
    rows = {member: row for member, *row in recorded.view("balances", ("member", "membership", *names))}
    assert set(rows) == set(recorded.history.members)
    entry = ("position", "topic", "occurred_at", "recorded_at", "points", "held", "owed", "balance", "arrears", "terms",
             "reference", "reason", "source", "id")  # fmt: skip
    for member in recorded.history.members:
        journal = journal_of(recorded.journals, member)
        found = read_balance(recorded.cur, journal, member, recorded.now)
        assert rows[member] == [found.status, *(getattr(found, name) for name in names)]
        moved = read_statement(recorded.cur, journal, member, limit=1000)
        said = recorded.view("statement", entry, "member = %s ORDER BY position", member)
        assert said == [tuple(getattr(one, name) for name in entry) for one in moved]
        layers = recorded.view(
            "lots", ("lot", "points", "opened_at", "available_at", "expires_at"),
            "member = %s ORDER BY coalesce(expires_at, 'infinity'), available_at, lot", member,
        )  # fmt: skip
        assert layers == [
            (one.lot, one.points, one.opened_at, one.available_at, None if one.expires_at == FAR else one.expires_at)
            for one in recorded.history.state(member).layers()
        ]


def test_views_of_value_say_what_python_says(recorded: Recorded) -> None:
    members, cur, journals = recorded.history.members, recorded.cur, recorded.journals
    merged = {name: recorded.history.state(name).merged_into for name in members}
    into = {name: other for name, other in merged.items() if other}
    assert set(into) & set(into.values()), "there is no chain of merges: choose another history"

    def person(name: str) -> str:
        return person(into[name]) if name in into else name

    assert dict(recorded.view("merged_members", ("member", "person"))) == {name: person(name) for name in into}
    names = ("purchases", "returns", "units", "revenue_minor", "goods_cost_minor", "profit_minor", "uncosted_lines",
             "points_earned", "channels", "stores", "enrolled_at", "last_purchase_at", "months_active")  # fmt: skip
    rows = {member: row for member, *row in recorded.view("member_lifetime", ("member", "membership", *names))}
    assert set(rows) == set(members) - set(into)
    days = Counter()
    for name, purchases in recorded.view("trade_days", ("person", "purchases")):
        days[name] += purchases
    for member, row in rows.items():
        found = read_lifetime(cur, journals, journal_of(journals, member), member, recorded.now)
        assert row == [found.membership, *(getattr(found, name) for name in names)]
        assert days[member] == found.purchases
    value = read_programme_value(cur, journals, recorded.now)
    names = ("members", "prospects", "customers", "revenue_minor", "operating_profit_minor", "unknown_profit_members")
    assert recorded.view("programme_value", names) == [tuple(getattr(value, name) for name in names)]
    columns = ("cohort", "month", "members", "active_members", "purchases", "revenue_minor")
    cohorts = read_cohorts(cur, journals, recorded.now)
    assert sum(cohort.members for cohort in cohorts) == len(rows)
    months = Counter()
    for _, month, _, _, purchases, revenue in recorded.view("cohorts", columns):
        months[month] += (purchases, revenue) != (0, 0)
    assert set(months) == {month.month for cohort in cohorts for month in cohort.months}
    (customers,) = recorded.view("cohort_repurchases", ("sum(customers)", "sum(within_365_days)"))
    bought = [name for name in members if recorded.view("trade_days", ("1",), "member = %s AND purchases > 0", name)]
    assert customers[0] == len(bought)


def test_views_of_satisfaction_say_what_python_says(recorded: Recorded) -> None:
    cur, journals, today = recorded.cur, recorded.journals, date(2026, 12, 31)
    for member in recorded.history.members:
        family = recorded.family(member)
        found = read_member_satisfaction(cur, journals, member, recorded.now)
        complaints = recorded.view("complaints", ("complaint", "resolved_at IS NULL"), "member = ANY (%s)", family)
        assert len(complaints) == found.complaints
        assert sorted(id for id, is_open in complaints if is_open) == sorted(
            one.complaint for one in found.open_complaints
        )
        kept = Counter(in_time for (in_time,) in recorded.view("follow_ups", ("in_time",), "member = ANY (%s)", family))
        assert (kept[True], kept[False], kept[None]) == (
            found.follow_ups_in_time, found.follow_ups_late, len(found.open_follow_ups),
        )  # fmt: skip
        names = ("instrument", "member", "score", "satisfied", "occurred_at")
        rows = recorded.view("latest_answers", names, "member = ANY (%s) ORDER BY occurred_at", family)
        for answer in read_latest_answers(cur, journals, member):
            assert tuple(getattr(answer, name) for name in names) in rows
            assert max(row[4] for row in rows if row[0] == answer.instrument) == answer.occurred_at
    days: Any = {"by": "day", "from_on": today - timedelta(days=600), "until_on": today, "today": today}
    for per in ("programme", "channel", "store", "touchpoint"):
        said = Counter()
        for value, day, answers in recorded.view("satisfaction_days", ("value", "day", "answers"), "per = %s", per):
            said["answers", value, day] += answers
        for value, day, opened, bought in recorded.view(
            "service_days", ("value", "day", "complaints", "purchases"), "per = %s", per
        ):
            said["complaints", value, day] += opened
            said["purchases", value, day] += bought if per != "touchpoint" else 0
        expected = Counter()
        for entry in read_timeline(cur, journals, per=per, **days):  # type: ignore[arg-type]
            expected["answers", entry.value, entry.period_on] += entry.responses
            expected["complaints", entry.value, entry.period_on] += entry.complaints
            expected["purchases", entry.value, entry.period_on] += entry.purchases if per != "touchpoint" else 0
        assert +said == +expected
    (answers,) = recorded.view("survey_answers", ("count(*)",))[0]
    assert answers == sum(
        answers for (answers,) in recorded.view("satisfaction_days", ("answers",), "per = 'programme'")
    )
    chart = read_chart(cur, journals, "late", from_on=date(2026, 1, 1), until_on=date(2026, 2, 1), today=today)
    assert recorded.view("baselines", ("version", "centre", "sigma", "until_on"), "true ORDER BY version") == [
        (one.version, one.centre, one.sigma, one.until_on) for one in chart.baselines
    ]


def test_views_of_steering_say_what_python_says(recorded: Recorded) -> None:
    cur, first = recorded.cur, recorded.journals[0]
    renamed = {
        Objective: ("objectives", "defined_at"),
        Measurement: ("objective_measurements", "measured_at"),
        Nonconformity: ("nonconformities", ""),
        CorrectiveAction: ("corrective_actions", ""),
        Budget: ("budgets", "set_at"),
    }
    for kind, (view, at) in renamed.items():
        columns = [at if name == "occurred_at" else name for name in kind.__struct_fields__]
        rows = read_rows(cur, kind, first)
        assert rows, kind
        assert Counter(recorded.view(view, columns)) == Counter(map(astuple, rows))
    audits = read_audits(cur, first, ZONE, date(2026, 12, 31))
    items = [(one.factor, one.segment, item.item, item.score, item.index) for one in audits for item in one.items]
    assert Counter(recorded.view("focus_assessments", ("factor", "segment", "item", "score", "index"))) == Counter(
        items
    )
    profiles = dict(recorded.view("member_profiles", ("member", "status")))
    assert profiles == {name: recorded.history.state(name).status for name in recorded.history.members}
    held = {(member, name): value for member, name, value in recorded.view(
        "member_attributes", ("member", "attribute", "value")
    )}  # fmt: skip
    expected = {
        (name, attribute): value
        for name in profiles
        if profiles[name] not in ("erased", "closed")
        for attribute, value in recorded.history.state(name).attributes.items()
    }
    assert {key: value for key, value in held.items() if profiles[key[0]] not in ("erased", "closed")} == expected


def test_no_view_has_personal_data(database_dsn: str, tmp_path: Path, reader: Any) -> None:
    """Neither open nor sealed; the member's own name, which is a pseudonym, is in many."""
    loyalty = Loyalty(LOYALTY_DATABASE_URL=database_dsn)
    loyalty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    loyalty("terms", "publish", str(COFFEE), "--at", "2026-01-01T00:00:00Z")
    personal = {"name": "Wu Lanying", "phone": "+8613800138000"}
    common = {"programme": "demo", "source": "desk", "occurred_at": "2026-02-01T00:00:00Z", "member": "M1"}
    messages = tmp_path / "messages.jsonl"
    messages.write_text(
        "\n".join(
            json.dumps(common | {"id": f"m{number}"} | message)
            for number, message in enumerate(
                [{"type": "enrolment.v1"}, {"type": "profile.v1", "personal": personal, "attributes": {"tier": "gold"}}]
            )
        )
    )
    loyalty("ingest", str(messages))
    loyalty("project", "--once")
    reader.execute("SELECT encode(state, 'escape') FROM loyalty.events WHERE topic = 'member-profile-changed.v1'")
    sealed = json.loads(reader.fetchall()[0][0])["sealed"]
    seen = ""
    for name in views(reader):
        reader.execute(f"SELECT row_to_json(found)::text FROM loyalty_read.{name} found")
        seen += "".join(text for (text,) in reader.fetchall())
    assert '"value":"gold"' in seen
    assert [secret for secret in (*personal.values(), sealed) if secret in seen] == []
