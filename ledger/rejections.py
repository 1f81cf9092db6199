"""Rejections: a business refusal is a value with a stable code, never an exception.

`CODES` lists every code in order of precedence: where a command breaks several rules, the refusal names the first of
them in this order. A code is never renamed; a retired one stays listed.
"""

from __future__ import annotations

from msgspec import Struct


class Rejection(Struct, frozen=True, gc=False):
    """Why a command was refused: a stable code, the field, the rule in words, and the value as it came."""

    code: str
    field: str
    rule: str
    value: str = ""

    def __str__(self) -> str:
        shown = f" (was {self.value})" if self.value else ""
        return f"{self.code}: {self.field}: {self.rule}{shown}"


CODES: dict[str, str] = {
    # the message
    "MESSAGE_TOO_LARGE": "The message is larger than the way in takes.",
    "NOT_UTF8": "The message is not UTF-8 text.",
    "NOT_JSON": "The message is not a JSON object.",
    "UNKNOWN_TYPE": "The message's type, or that version of it, is not one that the ledger takes.",
    "INVALID_FIELD": "A field is missing, not known, null, of the wrong type or outside its range.",
    "UNPROCESSABLE": "The ledger failed on the message, and on it alone: the rule names the failure.",
    # the programme and the identity
    "PROGRAMME_MISSING": "Neither the message nor the way in names a programme.",
    "PROGRAMME_UNKNOWN": "There is no such programme.",
    "PROGRAMME_EXISTS": "The programme has been created before, with other input.",
    "IDEMPOTENCY_CONFLICT": "The same source and id were recorded before with other input.",
    # time and terms
    "OCCURRED_AT_OUT_OF_RANGE": "The business time is before 1970 or further ahead than clocks may differ.",
    "TERMS_INVALID": "The terms document breaks a rule.",
    "TERMS_MISSING": "No terms are in force at the business time.",
    # the member
    "MEMBER_UNKNOWN": "The member is not enrolled.",
    "MEMBER_ALREADY_ENROLLED": "The member is enrolled already.",
    "MEMBER_MERGED": "The member was merged into another, which the refusal names.",
    "MEMBER_CLOSED": "The membership is closed.",
    "MEMBER_ERASED": "The member was erased.",
    "MEMBER_NOT_MERGED": "The member was not merged, so there is no merge to undo.",
    "SAME_MEMBER": "A transfer or merge needs two different members.",
    "OPEN_HOLDS": "The member has open holds, which must be captured or released first.",
    "OCCURRED_BEFORE_LATEST": "The command may not be dated before the member's newest event.",
    # money
    "CURRENCY_MISMATCH": "The currency is not that of the programme.",
    # trade
    "PURCHASE_REQUIRED": "A return by amount, or of everything, must name its purchase.",
    "NOTHING_TO_RETURN": "The return is of nothing: no quantity and no amount.",
    "PURCHASE_NOT_FOUND": "No such purchase of the member is within the return window.",
    "PURCHASE_AMBIGUOUS": "Purchases of several sources have that id: name the source.",
    "RETURN_BEFORE_PURCHASE": "The return is dated before its purchase.",
    "RETURN_WINDOW_PASSED": "The return is dated after the purchase's return window.",
    "RETURN_EXCEEDS_PURCHASE": "More is returned than was bought and is not returned yet.",
    "RETURN_UNMATCHED": "A returned line matches no purchase in the return window, and the terms refuse such.",
    # points
    "POINTS_BELOW_MINIMUM": "Fewer points than the terms let redeem at once.",
    "POINTS_NOT_A_STEP": "The points are not a multiple of the terms' redemption step.",
    "POINTS_ZERO": "The points may not be zero.",
    "POINTS_OUT_OF_RANGE": "The purchase would earn more points than one accrual can hold.",
    "INSUFFICIENT_POINTS": "Not enough points are available at the business time.",
    "REDEMPTION_NOT_FOUND": "No such redemption of the member is within the reversal window.",
    "REDEMPTION_AMBIGUOUS": "Redemptions of several sources have that id: name the source.",
    "REVERSAL_BEFORE_REDEMPTION": "The reversal is dated before its redemption.",
    "REVERSAL_WINDOW_PASSED": "The reversal is dated after the redemption's reversal window.",
    "REVERSAL_EXCEEDS_REDEMPTION": "More points than are left to reverse.",
    "HOLD_NOT_FOUND": "The member has no such open hold.",
    "HOLD_AMBIGUOUS": "Holds of several sources have that id: name the source.",
    "OCCURRED_BEFORE_HOLD": "The command is dated before its hold.",
    "HOLD_TIMED_OUT": "The hold timed out before the business time.",
    "CAPTURE_EXCEEDS_HOLD": "More points than the hold has left.",
    "NOTHING_TO_EXPIRE": "Nothing has expired or timed out by the business time.",
    "NOTHING_TO_CHANGE": "The profile change changes nothing.",
    # satisfaction
    "SCALE_INVALID": "The scale is not [lowest, highest] with lowest below highest.",
    "SURVEY_UNKNOWN": "No such survey was defined.",
    "SURVEY_MISMATCH": "The answer does not fit the definition of its survey.",
    "SCORE_OUT_OF_SCALE": "A score is outside the scale given with it.",
    "COMPLAINT_NOT_FOUND": "The member has no such open complaint.",
    "RESOLUTION_BEFORE_COMPLAINT": "The resolution is dated before its complaint.",
    "FOLLOW_UP_NOT_FOUND": "The member has no such open follow-up.",
    "COMPLETION_BEFORE_FOLLOW_UP": "The completion is dated before its follow-up was promised.",
    # steering the programme
    "NAME_REPEATED": "A name stands twice in a list of different ones.",
    "WEIGHTS_INVALID": "The weights are not one for each question of an ACSI survey, some above 0.",
    "BANDS_INVALID": "The bands are not shares above 0 that add up to 100 percent, under names of their own.",
    "RANGE_INVALID": "The range of days is empty, or is not over where it must be.",
    "LIMITS_INVALID": "Centre and sigma give no control limits for this kind of chart.",
    "WHO_INVALID": "Nothing for the programme, attribute=value for a segment, a name for a member.",
    "BUDGET_VALUE_INVALID": "The value is not one that its measure can have.",
    "BUDGET_OVERLAPS": "Some of the days have a budget of the same measure, level and direction already.",
    "OBJECTIVE_UNKNOWN": "No such objective was defined.",
    "OBJECTIVE_RETIRED": "The objective is retired.",
    "COMPARATOR_INVALID": "The comparator asks for the opposite of the direction that is better.",
    "FIGURE_UNKNOWN": "The figure is not one of this ledger's, or not one for such a chart.",
    "PERIOD_INVALID": "The day does not begin a period of the objective, or lies ahead.",
    "NONCONFORMITY_EXISTS": "A nonconformity of that name was raised before.",
    "NONCONFORMITY_UNKNOWN": "No such nonconformity was raised.",
    "NONCONFORMITY_CLOSED": "The nonconformity is closed.",
    "ACTION_EXISTS": "The nonconformity has a corrective action of that name.",
    "ACTION_UNKNOWN": "The nonconformity has no such corrective action.",
    "STEP_OUT_OF_ORDER": "The step is not the next: raised, cause found, action planned, done, verified.",
    "VERIFIER_NOT_INDEPENDENT": "Who did the action may not verify it.",
    "DUE_INVALID": "The due date is missing where something is due, given where nothing is, or past.",
}
"""Code → what it means, in order of precedence."""
