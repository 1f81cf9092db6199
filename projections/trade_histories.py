"""What the models of expected lifetime value know of customers: when they bought and for how much.

A member and all that were merged into it are one customer; purchases of one day are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from io import BytesIO
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ledger.store.database import PgCursor

LEFT: Final = ("closed", "erased")
COPY_HEADER_BYTES: Final = 19
COPY_TRAILER_BYTES: Final = 2


class TradeHistory(Struct, frozen=True, kw_only=True):
    """A customer to the end of a business day. Money is in minor units.

    `repeats` counts purchase days after the first, `repeat_value_minor` is the revenue net of returns of all days after
    the first purchase day; revenue and cost are those of all time. `left`: closed or erased.
    """

    repeats: int
    recency_days: int
    age_days: int
    repeat_value_minor: int
    revenue_minor: int
    cost_minor: int
    uncosted_lines: int
    left: bool


class TradeHistories(Struct, frozen=True, kw_only=True):
    """The same of many customers: arrays of one length."""

    repeats: NDArray[np.int64]
    recency_days: NDArray[np.int64]
    age_days: NDArray[np.int64]
    repeat_value_minor: NDArray[np.int64]
    revenue_minor: NDArray[np.int64]
    cost_minor: NDArray[np.int64]
    uncosted_lines: NDArray[np.int64]
    left: NDArray[np.bool_]


def read_trade_histories(cur: PgCursor, journals: Sequence[int], on: date) -> TradeHistories:
    """All customers of a programme with a purchase on or before `on`, in no order: one statement."""
    query = cur.mogrify(
        f"COPY ({_ALL}) TO STDOUT (FORMAT binary)",
        {"journals": list(journals), "on": on, "left": list(LEFT)},
    )
    sink = BytesIO()
    cur.copy_expert(query, sink)
    fields = TradeHistory.__struct_fields__
    row = np.dtype(
        [("fields", ">i2"), *(part for name in fields for part in ((f"{name}_bytes", ">i4"), (name, ">i8")))]
    )
    rows = np.frombuffer(sink.getbuffer()[COPY_HEADER_BYTES:-COPY_TRAILER_BYTES], dtype=row)
    return TradeHistories(**{name: rows[name].astype(np.bool_ if name == "left" else np.int64) for name in fields})


def read_trade_history(
    cur: PgCursor, journals: Sequence[int], journal: int, member: str, on: date
) -> TradeHistory | None:
    """One customer; None where it made no purchase on or before `on`, or was merged into another member."""
    cur.execute(
        _ONE,
        {"journals": list(journals), "journal": journal, "member": member, "on": on, "left": list(LEFT)},
    )
    row = cur.fetchone()
    if row is None:
        return None
    return TradeHistory(**dict(zip(TradeHistory.__struct_fields__, (*row[:-1], bool(row[-1])), strict=True)))


_FIGURES = """
    count({days}) FILTER (WHERE purchases > 0) - 1,
    (max(day) FILTER (WHERE purchases > 0) - customer.first_day)::bigint,
    (%(on)s - customer.first_day)::bigint,
    coalesce(sum(revenue_minor - returned_minor) FILTER (WHERE day > customer.first_day), 0)::bigint,
    sum(revenue_minor - returned_minor)::bigint,
    sum(goods_cost_minor + attributed_cost_minor)::bigint,
    sum(uncosted_lines)::bigint,
    (customer.status = ANY (%(left)s))::int::bigint
"""

_OF_FAMILIES = f"""
SELECT {_FIGURES.format(days="DISTINCT day")}
FROM (SELECT name, status, min(first_day) AS first_day FROM families GROUP BY name, status) customer
JOIN families USING (name, status)
JOIN trade_days USING (journal, member)
WHERE day <= %(on)s
GROUP BY name, customer.status, customer.first_day
HAVING count(*) FILTER (WHERE purchases > 0) > 0
"""

_ONE = f"""
WITH RECURSIVE families AS (
    SELECT journal, member, member AS name, status, first_day FROM lifetime
    WHERE journal = %(journal)s AND member = %(member)s AND survivor IS NULL
    UNION
    SELECT part.journal, part.member, families.name, families.status, part.first_day
    FROM families JOIN lifetime part
    ON part.journal = ANY (%(journals)s) AND part.survivor = families.member AND part.survivor IS NOT NULL
)
{_OF_FAMILIES}
"""

# Most customers are one member, whose days are distinct: they are summed without sorting them.
_ALL = f"""
WITH RECURSIVE chains AS (
    SELECT member, survivor FROM lifetime WHERE journal = ANY (%(journals)s) AND survivor IS NOT NULL
    UNION
    SELECT chains.member, further.survivor FROM chains JOIN lifetime further
    ON further.journal = ANY (%(journals)s) AND further.member = chains.survivor AND further.survivor IS NOT NULL
), survivors AS (
    SELECT chains.member AS part, lifetime.member, lifetime.status FROM chains JOIN lifetime
    ON lifetime.journal = ANY (%(journals)s) AND lifetime.member = chains.survivor AND lifetime.survivor IS NULL
), parts AS (
    SELECT part AS member, member AS name, status FROM survivors UNION SELECT member, member, status FROM survivors
), families AS (
    SELECT lifetime.journal, parts.member, parts.name, parts.status, lifetime.first_day
    FROM parts JOIN lifetime ON lifetime.journal = ANY (%(journals)s) AND lifetime.member = parts.member
)
SELECT {_FIGURES.format(days="*")}
FROM (
    SELECT journal, member, status, first_day FROM lifetime
    WHERE journal = ANY (%(journals)s) AND first_day <= %(on)s AND member NOT IN (SELECT member FROM parts)
) customer
JOIN trade_days USING (journal, member)
WHERE day <= %(on)s
GROUP BY journal, member, customer.status, customer.first_day
HAVING count(*) FILTER (WHERE purchases > 0) > 0
UNION ALL
{_OF_FAMILIES}
"""
