"""Figures of replays in words, by their names in `loyalty audit replay`; those of survey answers keep their names."""

from __future__ import annotations

from typing import Final

from service.web.languages import N_

FIGURES: Final = {
    "active": N_("Points that can be spent"),
    "pending": N_("Points not available yet"),
    "held": N_("Points held"),
    "balance": N_("Balance"),
    "expired": N_("Points expired"),
    "spent": N_("Points spent"),
    "arrears": N_("Points in arrears"),
    "points_earned": N_("Points earned"),
    "points_redeemed": N_("Points redeemed"),
    "members_open": N_("Open members"),
    "members_closed": N_("Closed members"),
    "members_merged": N_("Merged members"),
    "members_erased": N_("Erased members"),
    "purchases": N_("Purchases"),
    "purchased_minor": N_("Purchased"),
    "purchased_units": N_("Units purchased"),
    "returns": N_("Returns"),
    "returned_minor": N_("Returned"),
    "returned_units": N_("Units returned"),
    "goods_cost_minor": N_("Cost of goods"),
    "attributed_cost_minor": N_("Attributed cost"),
    "uncosted_lines": N_("Lines whose cost is unknown"),
    "complaints": N_("Complaints"),
    "resolved": N_("Complaints resolved"),
    "resolution_microseconds": N_("Time to resolve them, in microseconds"),
    "follow_ups": N_("Follow-ups"),
    "follow_ups_in_time": N_("Follow-ups in time"),
    "follow_ups_late": N_("Follow-ups late"),
}
