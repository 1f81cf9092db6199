"""Words for the codes that the ledger uses: topics, memberships, statuses. The filter `label` shows them."""

from __future__ import annotations

from typing import Final

from service.web.languages import N_

WORDS: Final = {
    # topics of events
    "member-enrolled.v1": N_("Member enrolled"),
    "member-profile-changed.v1": N_("Profile changed"),
    "member-closed.v1": N_("Membership closed"),
    "member-erased.v1": N_("Member erased"),
    "members-merged.v1": N_("Members merged"),
    "merge-undone.v1": N_("Merge undone"),
    "purchase-recorded.v1": N_("Purchase"),
    "purchase-returned.v1": N_("Return of goods"),
    "points-accrued.v1": N_("Points accrued"),
    "points-redeemed.v1": N_("Points redeemed"),
    "redemption-reversed.v1": N_("Redemption reversed"),
    "points-held.v1": N_("Points held"),
    "hold-captured.v1": N_("Hold captured"),
    "hold-released.v1": N_("Hold released"),
    "points-expired.v1": N_("Points expired"),
    "points-clawed-back.v1": N_("Points clawed back"),
    "points-adjusted.v1": N_("Points adjusted"),
    "points-transferred-out.v1": N_("Points transferred out"),
    "points-transferred-in.v1": N_("Points transferred in"),
    "survey-answered.v1": N_("Survey answered"),
    "complaint-opened.v1": N_("Complaint opened"),
    "complaint-resolved.v1": N_("Complaint resolved"),
    "follow-up-scheduled.v1": N_("Follow-up promised"),
    "follow-up-completed.v1": N_("Follow-up completed"),
    "cost-attributed.v1": N_("Cost attributed"),
    "wallet-share-surveyed.v1": N_("Share of wallet surveyed"),
    "programme-created.v1": N_("Programme created"),
    "terms-published.v1": N_("Terms published"),
    "survey-defined.v1": N_("Survey defined"),
    "analysis-set.v1": N_("Analysis set"),
    "baseline-frozen.v1": N_("Baseline frozen"),
    "objective-defined.v1": N_("Objective defined"),
    "objective-measured.v1": N_("Objective measured"),
    "nonconformity-raised.v1": N_("Nonconformity raised"),
    "cause-found.v1": N_("Cause found"),
    "corrective-action-planned.v1": N_("Corrective action planned"),
    "corrective-action-done.v1": N_("Corrective action done"),
    "corrective-action-verified.v1": N_("Corrective action verified"),
    "budget-set.v1": N_("Budget set"),
    "focus-assessed.v1": N_("Customer focus assessed"),
    # memberships
    "unknown": N_("unknown"),
    "open": N_("open"),
    "closed": N_("closed"),
    "erased": N_("erased"),
    "merged": N_("merged"),
    # statuses of customers
    "prospect": N_("prospect"),
    "active": N_("active"),
    "inactive": N_("inactive"),
    # read models
    "balances": N_("Balances"),
    "statement": N_("Statement"),
    "lifetime": N_("Value of members"),
    "satisfaction": N_("Satisfaction"),
    "member_data": N_("Profiles"),
    "steering": N_("Steering"),
    "liability": N_("Liability"),
}
"""Code → English."""
