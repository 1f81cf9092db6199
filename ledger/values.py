"""The scalar types that commands and events are made of, with their ranges.

Money is an integer of minor units beside an ISO 4217 code; points are integers; instants are aware and kept in UTC.
The bounds keep every sum of a message inside a signed 64-bit integer: 1,000 lines of at most 10**15.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

AMOUNT_MAX = 10**15
POINTS_MAX = 10**15
LINES_MAX = 1_000

# No control characters: PostgreSQL text refuses NUL, and a newline splits a log line. `(?![\s\S])` is the end of the
# text in both dialects that read it: `$` would let a trailing newline pass in Python. In JSON such a character can only
# be written as an escape (but for DEL), so who decodes a message looks for a backslash first and checks the pattern
# only where there is one (`consumers.inbound`): the regular expressions would take longer than all the rest of the
# decoding.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+(?![\s\S])"
_PRINTABLE_OR_EMPTY = r"^[^\x00-\x1f\x7f]*(?![\s\S])"


def _in_schema(pattern: str) -> dict[str, object]:
    return {"pattern": pattern}


Identifier = Annotated[str, Meta(min_length=1, max_length=128, extra_json_schema=_in_schema(_PRINTABLE))]
MemberId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="The member, unique in the programme.",
        extra_json_schema=_in_schema(_PRINTABLE),
    ),
]
ProgrammeId = Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema=_in_schema(_PRINTABLE))]
Label = Annotated[str, Meta(max_length=128, extra_json_schema=_in_schema(_PRINTABLE_OR_EMPTY))]
Reason = Annotated[str, Meta(min_length=1, max_length=500, extra_json_schema=_in_schema(_PRINTABLE))]
Text = Annotated[str, Meta(max_length=4_000)]
Currency = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=3,
        description="ISO 4217 code, such as CNY.",
        extra_json_schema=_in_schema(_PRINTABLE),
    ),
]

# Checked wherever they are decoded: for what is rare, and for names that are made here.
CheckedIdentifier = Annotated[str, Meta(min_length=1, max_length=128, pattern=_PRINTABLE)]
CheckedLabel = Annotated[str, Meta(max_length=128, pattern=_PRINTABLE_OR_EMPTY)]
NewProgrammeId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*(?![\s\S])")]
CurrencyCode = Annotated[str, Meta(pattern=r"^[A-Z]{3}(?![\s\S])", description="ISO 4217 code, such as CNY.")]

Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset; kept in UTC, microseconds.")]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="Money in minor units of the currency.")]
Quantity = Annotated[int, Meta(ge=0, le=10**9)]
Points = Annotated[int, Meta(ge=1, le=POINTS_MAX)]
SignedPoints = Annotated[int, Meta(ge=-POINTS_MAX, le=POINTS_MAX)]

ScaleEnd = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]

DECIMAL_PATTERN = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?(?![\s\S])"
DecimalText = Annotated[
    str,
    Meta(
        pattern=DECIMAL_PATTERN,
        description="An exact decimal number as text, such as 81.3.",
    ),
]

FAR = datetime.max.replace(tzinfo=UTC)
"""Stands for "never" where instants are ordered; never stored in an event."""
