"""What the form of a page asks for: texts of its query as days, months and choices, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Final

from litestar.params import QueryParameter

from service.liability_figures import parse_month
from service.web.visits import Visit

CHARACTERS_MAX: Final = 128

Text = Annotated[str, QueryParameter(max_length=CHARACTERS_MAX)]
"""A field of a form; "" where it is left empty."""


class Asked:
    """Fields as what they mean; None where one is empty or wrong. `errors` says beside which field what is wrong."""

    def __init__(self, visit: Visit) -> None:
        self.errors: dict[str, str] = {}
        self.gettext = visit.gettext

    @property
    def status(self) -> int:
        """The status of the answer."""
        return 400 if self.errors else 200

    def month(self, name: str, text: str) -> date | None:
        """A month such as 2026-11, as its first day."""
        _ = self.gettext
        try:
            return parse_month(text) if text else None
        except ValueError:
            self.errors[name] = _("must be a month such as 2026-11")
            return None

    def months(self, from_month: str, to_month: str) -> tuple[date | None, date | None]:
        """The first and the last month of a range."""
        _ = self.gettext
        first, last = self.month("from_month", from_month), self.month("to_month", to_month)
        if last is not None and (first or date.min) > last:
            self.errors["to_month"] = _("must not be before the first month")
        elif last is not None and last.year == date.max.year:
            self.errors["to_month"] = _("must be before the year %(year)s", year=date.max.year)
        return first, last

    def day(self, name: str, text: str) -> date | None:
        """A day such as 2026-11-20."""
        _ = self.gettext
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            self.errors[name] = _("must be a day such as 2026-11-20")
            return None

    def period(self, first: date | None, until_name: str, until: date | None) -> None:
        """Refuse a period that ends before it has a day."""
        _ = self.gettext
        if first is not None and until is not None and first >= until:
            self.errors[until_name] = _("must be after %(day)s", day=first)

    def choice(self, name: str, text: str, choices: Iterable[str]) -> str:
        """One of several texts, the first of them where it is none."""
        _ = self.gettext
        known = list(choices)
        if text in known:
            return text
        if text:
            self.errors[name] = _("must be one of %(choices)s", choices=", ".join(known))
        return known[0]
