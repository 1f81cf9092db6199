"""CDNOW: purchases of 2,357 people who first bought at an online music shop in the first quarter of 1997, to mid-1998.

The file is the 1/10 sample that comes in the PyPI package `lifetimes`; the package itself is not imported.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path

END_OF_CALIBRATION = date(1997, 9, 30)


@cache
def daily_values() -> dict[str, dict[date, int]]:
    """Each customer's purchases in cents by day, the purchases of one day merged."""
    spec = find_spec("lifetimes")
    assert spec is not None, "CDNOW comes with the package lifetimes, which is in the extra `test`"
    assert spec.origin is not None
    found: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for line in (Path(spec.origin).parent / "datasets" / "CDNOW_sample.txt").read_text().splitlines():
        _, customer, day, _, value = line.split()
        when = date(int(day[:4]), int(day[4:6]), int(day[6:]))
        found[customer][when] += round(float(value) * 100)
    return {customer: dict(days) for customer, days in found.items()}


class Summary:
    """x, t_x and T in weeks, and the average of the repeat purchases, to the end of the calibration period."""

    def __init__(self, end: date = END_OF_CALIBRATION) -> None:
        self.x: list[int] = []
        self.t_x: list[float] = []
        self.t: list[float] = []
        self.average: list[float] = []
        for days in daily_values().values():
            dates = sorted(day for day in days if day <= end)
            repeats = [days[day] / 100 for day in dates[1:]]
            self.x.append(len(repeats))
            self.t_x.append((dates[-1] - dates[0]).days / 7)
            self.t.append((end - dates[0]).days / 7)
            self.average.append(sum(repeats) / len(repeats) if repeats else 0.0)
