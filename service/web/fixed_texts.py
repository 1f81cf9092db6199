"""Fixed sentences that come from elsewhere, so that they have translations: a page shows each by the filter `label`."""

from __future__ import annotations

from typing import Final

from service.web.languages import N_

PROBLEMS: Final = (
    N_("The request has no API key that is known."),
    N_("The key is not for this programme, or its role may not do this."),
    N_("There is nothing at this path."),
    N_("The path does not take this method."),
    N_("The head of the request is too large."),
    N_("The request took too long to arrive."),
    N_("The request is not one that the path takes."),
    N_("The key was used too often."),
    N_("The server failed; nothing is known of why but what its log has."),
    N_("The database cannot be reached: the same request may be sent again."),
    N_("The database did not answer in time: the same request may be sent again."),
    N_("The database has no room left: nothing was recorded, and the same request may be sent again."),
    N_("The read models did not reach the position asked for in time."),
    N_("A read model must be rebuilt before it can be read."),
    N_("The server is stopping: send the request to another, or again."),
)
"""What the codes of `service.http.problems` mean."""

PROBLEMS_OF_PAGES: Final = (
    N_("There is no such programme."),
    N_("The key is not for this programme."),
    N_("There is no such run; those of long ago are not kept."),
    N_("There is no such checkpoint."),
)

METHODS: Final = (
    N_("NPS: % of 9–10 less % of 0–6 on 0–10; standard error √((p + d − (p − d)²)/n), Wald interval 95 %"),
    N_("CSAT: % in the top two points of the scale; standard error √(p(1 − p)/n), Wilson interval 95 %"),
    N_("CES: mean on 1–7, other scales rescaled linearly; standard error s/√n, t interval 95 %"),
    N_(
        "ACSI: mean of 100 · Σw(x − lowest) / (Σw · (highest − lowest)) with equal weights; standard error s/√n,"
        " t interval 95 %"
    ),
    N_(
        "ACSI: mean of 100 · Σw(x − lowest) / (Σw · (highest − lowest)) with given weights; standard error s/√n,"
        " t interval 95 %"
    ),
    N_("complaints opened in the period over purchases in it"),
    N_("mean time from opening to resolution, of the complaints resolved in the period"),
    N_("median time from opening to resolution, of the complaints resolved in the period"),
    N_("completed by the instant they were due, of the follow-ups due in the period"),
    N_("completed later than due, of the follow-ups due in the period"),
    N_("answers to any instrument"),
    N_("complaints opened in the period"),
)
"""How the figures of satisfaction are made, as `projections.satisfaction_figures` says it."""
