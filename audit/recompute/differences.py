"""Where read models differ from what was recomputed, and which events say what the rules do not give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from audit.recompute.engine import Engine
from audit.recompute.models import Model
from audit.recompute.scripts import FINDINGS

ROWS_NAMED_MAX: Final = 100
"""Rows of a read model, and findings of a kind, that are named; all are counted."""
EVENTS_NAMED_MAX: Final = 10
"""Events that are named behind a difference: the newest; all are counted."""
ROW: Final = "row"


class Difference(Struct, frozen=True, kw_only=True):
    """A value of a read model that is not what its events give, or a whole row (`column` is `row`).

    `key` names the row by columns. `events` are the newest positions behind it in the row's journal, of `events_count`.
    """

    model: str
    key: dict[str, Any]
    column: str
    recomputed: Any
    found: Any
    events: list[str]
    events_count: int


class Finding(Struct, frozen=True, kw_only=True):
    """An event that says something else than the rules give. `event` is journal:position."""

    kind: str
    event: str
    member: str | None
    what: str
    expected: str | None
    recorded: str | None


def differences(engine: Engine, model: Model) -> tuple[int, list[Difference]]:
    """How many rows of a read model, in the view `live_<name>`, differ, and the first of them, value by value."""
    table = f"differing_{model.name}"
    engine.execute(f"CREATE TABLE {table} AS {_differing(model)}")
    ((count,),) = engine.rows(f"SELECT count(*) FROM {table}")
    if not count:
        return 0, []
    key = ", ".join(model.key)
    engine.execute(f"CREATE TABLE named_{table} AS SELECT * FROM {table} ORDER BY {key} LIMIT {ROWS_NAMED_MAX}")
    behind = _behind(engine, model)
    found: list[Difference] = []
    for there, live, *values in engine.rows(f"SELECT * FROM named_{table} ORDER BY {key}"):
        of, rest = tuple(values[: len(model.key)]), values[len(model.key) :]
        recomputed, lived = rest[: len(model.values)], rest[len(model.values) :]
        compared = list(zip(model.values, recomputed, lived, strict=True))
        if not (there and live):
            compared = [(ROW, "a row" if there else "none", "a row" if live else "none")]
        for column, right, wrong in compared:
            if right != wrong:
                events_count, positions = behind.get((of, model.values.get(column, ROW)), (0, []))
                found.append(
                    Difference(
                        model=model.name,
                        key=dict(zip(model.key, of, strict=True)),
                        column=column,
                        recomputed=right,
                        found=wrong,
                        events=[f"{of[0]}:{position}" for position in positions],
                        events_count=events_count,
                    )
                )
    return count, found


def _differing(model: Model) -> str:
    keys = ", ".join(f"coalesce(recomputed.{name}, live.{name}) AS {name}" for name in model.key)
    values = ", ".join(f"{side}.{name} AS {side}_{name}" for side in ("recomputed", "live") for name in model.values)
    same_key = " AND ".join(f"recomputed.{name} = live.{name}" for name in model.key)
    distinct = " OR ".join(f"recomputed.{name} IS DISTINCT FROM live.{name}" for name in model.values)
    return (
        "SELECT recomputed.journal IS NOT NULL AS is_recomputed, live.journal IS NOT NULL AS is_live,"
        f" {keys}, {values} FROM recomputed_{model.name} AS recomputed FULL JOIN live_{model.name} AS live"
        f" ON {same_key} WHERE recomputed.journal IS NULL OR live.journal IS NULL OR {distinct}"
    )


def _behind(engine: Engine, model: Model) -> dict[tuple[tuple[Any, ...], str], tuple[int, list[int]]]:
    """By the key of a row that differs and the name of what it is about: how many events, and the newest positions."""
    key, joined = ", ".join(model.key), ", ".join(f"behind.{name}" for name in model.key)
    same_key = " AND ".join(f"named.{name} = behind.{name}" for name in model.key)
    behind = f"behind_{model.name} AS behind JOIN named_differing_{model.name} AS named ON {same_key}"
    rows = engine.rows(
        f"SELECT {key}, name, position, events FROM (SELECT *, count(*) OVER (PARTITION BY {key}, name) AS events,"
        f" row_number() OVER (PARTITION BY {key}, name ORDER BY position DESC) AS place"
        f" FROM (SELECT DISTINCT {joined}, behind.name, behind.position FROM {behind}"
        f" UNION ALL SELECT DISTINCT {joined}, '{ROW}', behind.position FROM {behind}) AS once) AS placed"
        f" WHERE place <= {EVENTS_NAMED_MAX} ORDER BY position DESC"
    )
    found: dict[tuple[tuple[Any, ...], str], tuple[int, list[int]]] = {}
    for *of, name, position, events in rows:
        found.setdefault((tuple(of), name), (events, []))[1].append(position)
    return found


def findings(engine: Engine, upto: Mapping[int, int]) -> tuple[int, list[Finding]]:
    """How many events say something else than the rules give, and the first of each kind; of each journal in `upto` up
    to a position.
    """
    within = " OR ".join(f"journal = {journal:d} AND position <= {position:d}" for journal, position in upto.items())
    total, found = 0, []
    for table in FINDINGS:
        ((count,),) = engine.rows(f"SELECT count(*) FROM {table} WHERE {within}")
        total += count
        rows = engine.rows(
            f"SELECT * FROM {table} WHERE {within} ORDER BY journal, position, what, expected, recorded"
            f" LIMIT {ROWS_NAMED_MAX}"
        )
        found += [
            Finding(
                kind=kind, event=f"{journal}:{position}", member=member, what=what, expected=expected, recorded=recorded
            )
            for kind, journal, position, member, what, expected, recorded in rows
        ]
    return total, found
