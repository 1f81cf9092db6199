"""The table of commands: under which path each is posted, and which roles may."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ledger import commands
from ledger.commands import Command
from service.http.access import CARE, RULES, TRADE, Roles


class CommandRoute(Struct, frozen=True):
    """`POST /v1/programmes/{programme}/<path>` with the fields of `command`, less what the path says."""

    path: str
    command: type[Command]
    roles: Roles

    @property
    def type(self) -> str:
        """The command's type on a wire."""
        return str(self.command.__struct_config__.tag)


ROUTES: Final = (
    CommandRoute("members", commands.EnrolMember, TRADE),
    CommandRoute("profiles", commands.ChangeProfile, TRADE),
    CommandRoute("purchases", commands.RecordPurchase, TRADE),
    CommandRoute("returns", commands.RecordReturn, TRADE),
    CommandRoute("redemptions", commands.RedeemPoints, TRADE),
    CommandRoute("reversals", commands.ReverseRedemption, TRADE),
    CommandRoute("holds", commands.HoldPoints, TRADE),
    CommandRoute("captures", commands.CaptureHold, TRADE),
    CommandRoute("releases", commands.ReleaseHold, TRADE),
    CommandRoute("transfers", commands.TransferPoints, TRADE),
    CommandRoute("survey-answers", commands.RecordSurvey, TRADE),
    CommandRoute("complaints", commands.OpenComplaint, TRADE),
    CommandRoute("complaint-resolutions", commands.ResolveComplaint, TRADE),
    CommandRoute("follow-ups", commands.ScheduleFollowUp, TRADE),
    CommandRoute("follow-up-completions", commands.CompleteFollowUp, TRADE),
    CommandRoute("costs", commands.AttributeCost, TRADE),
    CommandRoute("wallet-shares", commands.RecordWalletShare, TRADE),
    CommandRoute("accruals", commands.AccruePoints, CARE),
    CommandRoute("expiries", commands.ExpirePoints, CARE),
    CommandRoute("clawbacks", commands.ClawBackPoints, CARE),
    CommandRoute("adjustments", commands.AdjustPoints, CARE),
    CommandRoute("merges", commands.MergeMembers, CARE),
    CommandRoute("merge-undos", commands.UndoMerge, CARE),
    CommandRoute("closures", commands.CloseMember, CARE),
    CommandRoute("erasures", commands.EraseMember, CARE),
    CommandRoute("survey-definitions", commands.DefineSurvey, CARE),
    CommandRoute("analyses", commands.SetAnalysis, CARE),
    CommandRoute("baselines", commands.FreezeBaseline, CARE),
    CommandRoute("objectives", commands.DefineObjective, CARE),
    CommandRoute("measurements", commands.MeasureObjective, CARE),
    CommandRoute("nonconformities", commands.RaiseNonconformity, CARE),
    CommandRoute("causes", commands.FindCause, CARE),
    CommandRoute("corrective-actions", commands.PlanCorrectiveAction, CARE),
    CommandRoute("corrective-action-completions", commands.CompleteCorrectiveAction, CARE),
    CommandRoute("corrective-action-verifications", commands.VerifyCorrectiveAction, CARE),
    CommandRoute("budgets", commands.SetBudget, CARE),
    CommandRoute("focus-audits", commands.AssessFocus, CARE),
    CommandRoute("terms", commands.PublishTerms, RULES),
)
CREATE_PROGRAMME: Final = CommandRoute("", commands.CreateProgramme, RULES)
"""`POST /v1/programmes`, whose path does not say which."""
