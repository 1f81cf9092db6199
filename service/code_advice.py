"""What whoever sent a message does about each code, and which field the code is about; for the reference."""

from __future__ import annotations

from typing import Final, NamedTuple


class Advice(NamedTuple):
    """The fields that a refusal with the code names, between spaces, and what to do."""

    fields: str
    do: str


SECTIONS: Final = {
    "MESSAGE_TOO_LARGE": "The message itself",
    "PROGRAMME_MISSING": "Programme and identity",
    "OCCURRED_AT_OUT_OF_RANGE": "Time and terms",
    "MEMBER_UNKNOWN": "The member",
    "CURRENCY_MISMATCH": "Money",
    "PURCHASE_REQUIRED": "Trade",
    "POINTS_BELOW_MINIMUM": "Points",
    "SCALE_INVALID": "Satisfaction",
    "NAME_REPEATED": "Steering the programme",
}
"""The first code of each section, in the order of precedence → its heading."""

ADVICE: Final = {
    "MESSAGE_TOO_LARGE": Advice("message body", "split it: a purchase has at most 1,000 lines, a message 1 MiB"),
    "NOT_UTF8": Advice("message headers", "encode it in UTF-8; the rule says which byte is not"),
    "NOT_JSON": Advice("message body", "send one JSON object; the rule says where it breaks"),
    "UNKNOWN_TYPE": Advice("type", "send a type and version of [messages](messages.md), or update this ledger"),
    "INVALID_FIELD": Advice("the path of the field", "correct the field that is named, by the rule"),
    "UNPROCESSABLE": Advice("message", "tell whoever runs the ledger: it is a defect of it (only from Kafka)"),
    "PROGRAMME_MISSING": Advice("programme", "name it in the message, or by `--programme` of the way in"),
    "PROGRAMME_UNKNOWN": Advice("programme", "correct the name, or create the programme first"),
    "PROGRAMME_EXISTS": Advice("programme", "use what is there; currency, time zone and journals cannot be changed"),
    "IDEMPOTENCY_CONFLICT": Advice("id", "give what is new an id of its own; correct what was recorded by a new event"),
    "OCCURRED_AT_OUT_OF_RANGE": Advice("occurred_at", "correct the clock of the sender, or the unit of the instant"),
    "TERMS_INVALID": Advice(
        "the path in the document", "correct the document ([terms](../terms.md)), publish it again"
    ),
    "TERMS_MISSING": Advice("occurred_at", "publish terms that are in force then, and retry"),
    "MEMBER_UNKNOWN": Advice("member into to", "enrol the member, then retry; or take messages with `--auto-enrol`"),
    "MEMBER_ALREADY_ENROLLED": Advice("member", "nothing, or `profile.v1` where attributes are to change"),
    "MEMBER_MERGED": Advice("member into to", "send it for the member that the rule names"),
    "MEMBER_CLOSED": Advice("member into to", "nothing: a membership that ended takes nothing more"),
    "MEMBER_ERASED": Advice("member into to", "nothing; stop sending data of this member"),
    "MEMBER_NOT_MERGED": Advice("member", "correct the member; what is not merged cannot be undone"),
    "SAME_MEMBER": Advice("to into", "name two members"),
    "OPEN_HOLDS": Advice("member", "capture or release the member's holds, then retry"),
    "OCCURRED_BEFORE_LATEST": Advice("occurred_at", "date it now: merges and ends of memberships cannot be backdated"),
    "CURRENCY_MISMATCH": Advice("currency", "send the amount in the programme's currency"),
    "PURCHASE_REQUIRED": Advice("purchase", "name the purchase, or the lines that came back"),
    "NOTHING_TO_RETURN": Advice("lines[…] amount_minor", "leave out what did not come back"),
    "PURCHASE_NOT_FOUND": Advice("purchase", "check id and member; send the purchase first, then retry"),
    "PURCHASE_AMBIGUOUS": Advice("purchase_source", "say which source the purchase is of"),
    "RETURN_BEFORE_PURCHASE": Advice("occurred_at", "correct the time of the return"),
    "RETURN_WINDOW_PASSED": Advice("occurred_at", "nothing; or an `adjustment.v1` where you let the member off"),
    "RETURN_EXCEEDS_PURCHASE": Advice(
        "lines[…].quantity lines[…].amount_minor amount_minor purchase",
        "check what was returned before: the rule says how much is left",
    ),
    "RETURN_UNMATCHED": Advice("lines", "name the purchase, or let the terms take unmatched goods back"),
    "POINTS_BELOW_MINIMUM": Advice("points", "redeem more at once"),
    "POINTS_NOT_A_STEP": Advice("points", "redeem a multiple of the step"),
    "POINTS_ZERO": Advice("points", "adjust by a number above or below zero"),
    "POINTS_OUT_OF_RANGE": Advice("lines", "correct the amounts, or the rate of the terms"),
    "INSUFFICIENT_POINTS": Advice("points", "offer fewer: the rule says how many there are"),
    "REDEMPTION_NOT_FOUND": Advice("redemption", "check id and member; send the redemption first, then retry"),
    "REDEMPTION_AMBIGUOUS": Advice("redemption_source", "say which source the redemption is of"),
    "REVERSAL_BEFORE_REDEMPTION": Advice("occurred_at", "correct the time of the reversal"),
    "REVERSAL_WINDOW_PASSED": Advice("occurred_at", "nothing; or an `adjustment.v1` where you let the member off"),
    "REVERSAL_EXCEEDS_REDEMPTION": Advice("points", "reverse what is left, or leave `points` out"),
    "HOLD_NOT_FOUND": Advice("hold", "check id and member: it may have been captured, released or timed out"),
    "HOLD_AMBIGUOUS": Advice("hold_source", "say which source the hold is of"),
    "OCCURRED_BEFORE_HOLD": Advice("occurred_at", "correct the time of the command"),
    "HOLD_TIMED_OUT": Advice("occurred_at", "hold the points again, or redeem them"),
    "CAPTURE_EXCEEDS_HOLD": Advice("points", "capture what is left, and redeem the rest"),
    "NOTHING_TO_EXPIRE": Advice("occurred_at", "nothing"),
    "NOTHING_TO_CHANGE": Advice("personal", "name something to change"),
    "SCALE_INVALID": Advice("scale", "write the lowest score first"),
    "SURVEY_UNKNOWN": Advice("survey", "define the survey first, then retry; or leave `survey` out"),
    "SURVEY_MISMATCH": Advice(
        "instrument scale answers.…", "answer what was asked, on its scale; or define the survey anew"
    ),
    "SCORE_OUT_OF_SCALE": Advice("answers.… items[…].score", "correct the score, or the scale"),
    "COMPLAINT_NOT_FOUND": Advice("complaint", "check id and member: it may be resolved already"),
    "RESOLUTION_BEFORE_COMPLAINT": Advice("occurred_at", "correct the time of the resolution"),
    "FOLLOW_UP_NOT_FOUND": Advice("follow_up", "check id and member: it may be completed already"),
    "COMPLETION_BEFORE_FOLLOW_UP": Advice("occurred_at", "correct the time of the completion"),
    "NAME_REPEATED": Advice("questions bands items", "name each once"),
    "WEIGHTS_INVALID": Advice("weights", "give one for each question of an ACSI survey, or none"),
    "BANDS_INVALID": Advice("bands bands[…].name bands[…].share_percent", "make the shares add up to 100"),
    "RANGE_INVALID": Advice("until_on", "end after the first day; freeze a baseline only of days that are over"),
    "LIMITS_INVALID": Advice("centre sigma", "give what this kind of chart needs, as the rule says"),
    "WHO_INVALID": Advice("who segment", "fit it to the level"),
    "BUDGET_VALUE_INVALID": Advice("value", "give what the measure can be, as the rule says"),
    "BUDGET_OVERLAPS": Advice("from_on", "set the budget of the same days again, or of days without one"),
    "OBJECTIVE_UNKNOWN": Advice("objective retired", "define the objective first, then retry"),
    "OBJECTIVE_RETIRED": Advice("objective", "define it again where it is to be measured on"),
    "COMPARATOR_INVALID": Advice("comparator", "let comparator and direction say the same"),
    "FIGURE_UNKNOWN": Advice("figure", "use one of those that the rule lists"),
    "PERIOD_INVALID": Advice("period_on", "give the first day of a period that has begun"),
    "NONCONFORMITY_EXISTS": Advice("id", "give the new one an id of its own"),
    "NONCONFORMITY_UNKNOWN": Advice("nonconformity", "raise it first, then retry"),
    "NONCONFORMITY_CLOSED": Advice("nonconformity", "raise a new one"),
    "ACTION_EXISTS": Advice("id", "give the new one an id of its own"),
    "ACTION_UNKNOWN": Advice("action", "plan it first, then retry"),
    "STEP_OUT_OF_ORDER": Advice("nonconformity action", "do the step before it first, as the rule says"),
    "VERIFIER_NOT_INDEPENDENT": Advice("owner verified_by", "let somebody else verify it"),
    "DUE_INVALID": Advice("due_on", "give a day that is not over, or none where nothing is due"),
}
"""Code of `ledger.rejections.CODES` → what to do about it."""

REQUEST_ADVICE: Final = {
    "KEY_MISSING": "send `Authorization: Bearer <key>` with a key that was not revoked",
    "NOT_ALLOWED": "use a key of this programme whose role may do it ([roles](../http.md#keys-and-roles))",
    "NOT_FOUND": "correct the path; names in it are percent-encoded",
    "METHOD_NOT_ALLOWED": "use the method of the header `Allow`",
    "HEAD_TOO_LARGE": "send fewer or shorter headers, or a shorter address",
    "REQUEST_TIMEOUT": "send it again, faster",
    "REQUEST_INVALID": "correct it, as `detail` says",
    "TOO_MANY_REQUESTS": "wait for `Retry-After`, then the same again",
    "FAILED": "send the same again with its id; tell whoever runs the ledger if it stays so",
    "DATABASE_UNAVAILABLE": "wait for `Retry-After`, then the same again with its id",
    "DATABASE_TIMEOUT": "wait for `Retry-After`, then the same again with its id; a read that is always too long asks"
    " for less, or the operator allows it more (`LOYALTY_READ_SECONDS`)",
    "DATABASE_FULL": "wait for `Retry-After`, then the same again with its id; the operator has to make room",
    "NOT_THERE_YET": "read again later, or without `at_least`",
    "READ_MODEL_OUTDATED": "wait until the operator has run `loyalty rebuild`",
    "STOPPING": "wait for `Retry-After`, then the same again with its id",
}
"""Code of `service.http.problems.REQUEST_CODES` → what to do about it."""
