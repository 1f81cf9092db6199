"""What readers of the database see: a view a read model, by the name of the programme, also after a rebuild."""

from __future__ import annotations

from ledger.store.database import connect
from projections.member_data import MemberData
from projections.rebuild import rebuild
from projections.steering import Steering
from tests.steering_reads.conftest import Club
from tests.steering_reads.test_focus import audit
from tests.steering_reads.test_objectives import SATISFACTION
from tests.steering_reads.test_plan import budget

VIEWS = {
    "objectives": "SELECT objective, version, current, target::text FROM {} ORDER BY version",
    "objective_measurements": "SELECT objective, period_on::text, value::text, attained FROM {}",
    "nonconformities": "SELECT nonconformity, step, owner, due_on::text, cause FROM {}",
    "corrective_actions": "SELECT nonconformity, action, step, owner, due_on::text FROM {}",
    "budgets": "SELECT who, from_on::text, version, current, value::text FROM {} ORDER BY version",
    "focus_assessments": "SELECT factor, number, item, score, index FROM {} ORDER BY number",
    "member_attributes": "SELECT programme, member, attribute, value FROM {}",
    "member_profiles": "SELECT member, status, personal_at IS NULL, attributes_at IS NULL FROM {}",
}


def seen(dsn: str) -> dict[str, list[tuple]]:
    """Every view, as the reader."""
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE loyalty_reader")
            found = {}
            for view, select in VIEWS.items():
                cursor.execute(select.format(f"loyalty_read.{view}"))
                found[view] = cursor.fetchall()
            return found
    finally:
        connection.close()


def test_every_view_says_what_was_recorded_before_and_after_a_rebuild(club: Club, database_dsn: str) -> None:
    name = "satisfaction:2026-01-01"
    club.member("ann", tier="gold")
    club.say_all(
        [
            ("objective.v1", "2026-01-05", SATISFACTION),
            ("objective.v1", "2026-01-06", {**SATISFACTION, "target": "80.5"}),
            ("measurement.v1", "2026-02-01",
             {"objective": "satisfaction", "period_on": "2026-01-01", "value": "70.10"}),
            ("cause.v1", "2026-02-03", {"nonconformity": name, "cause": "y", "owner": "wu", "due_on": "2026-02-10"}),
            ("corrective-action.v1", "2026-02-04",
             {"id": "a1", "nonconformity": name, "what": "z", "owner": "chen", "due_on": "2026-02-20"}),
            budget("top_down", "segment", "tier=gold", "revenue", "100"),
            budget("top_down", "segment", "tier=gold", "revenue", "200"),
            audit("2026-01-10", 1, 4),
        ]
    )  # fmt: skip
    club.read("objectives")
    wanted = {
        "objectives": [("satisfaction", 1, False, "81"), ("satisfaction", 2, True, "80.5")],
        "objective_measurements": [("satisfaction", "2026-01-01", "70.10", False)],
        "nonconformities": [(name, "act", None, None, "y")],
        "corrective_actions": [(name, "a1", "do", "chen", "2026-02-20")],
        "budgets": [("tier=gold", "2026-01-01", 1, False, "100"), ("tier=gold", "2026-01-01", 2, True, "200")],
        "focus_assessments": [("information", 1, "item 1", 1, 0), ("information", 2, "item 2", 4, 75)],
        "member_attributes": [("club", "ann", "tier", "gold")],
        "member_profiles": [("ann", "open", True, False)],
    }
    assert seen(database_dsn) == wanted
    rebuild(database_dsn, [Steering(), MemberData()])
    assert seen(database_dsn) == wanted
