"""What the console has for a programme: its navigation. Whoever may not open a page does not see it there."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from service.http.access import AUDIT, FIGURES, REFUSED, Roles
from service.web.languages import N_


class Section(Struct, frozen=True):
    """An entry of the navigation; `path` is below the address of the programme."""

    name: str
    title: str
    path: str
    roles: Roles = FIGURES


SECTIONS: Final = (
    Section("overview", N_("Overview"), ""),
    Section("members", N_("Members"), "/members"),
    Section("pyramid", N_("Pyramid"), "/pyramid"),
    Section("satisfaction", N_("Satisfaction"), "/satisfaction"),
    Section("liability", N_("Liability"), "/liability"),
    Section("objectives", N_("Objectives"), "/objectives"),
    Section("terms", N_("Terms"), "/terms"),
    Section("rejected", N_("Refused messages"), "/rejected", REFUSED),
    Section("audit", N_("Audit"), "/audit", AUDIT),
)
