"""Whether what a command said is what its page says it does.

Runs of spaces and tabs are equal, so that a page may align columns; blank lines at the end do not count. `…` alone on a
line is any number of lines; inside a line it is any text. What differs from run to run matches by its shape:

- an instant or a day of the run itself stands for any instant or day on the page: business time is compared exactly;
- hexadecimal of eight digits and more, UUIDs, and base64 of forty characters and more;
- numbers before a unit of time, of memory or of speed: `0.3 s`, `12 ms`, `80 MiB`, `4,000/s`, `4,000 events a second`.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta

from msgspec import Struct

ANYTHING = "…"
_NOW = "\ue000"  # stands in what was said for an instant of the run
_TODAY = "\ue001"

_INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_DAY = r"\d{4}-\d\d-\d\d(?!\d|T\d)"
_VOLATILE = re.compile(
    rf"(?P<any>{ANYTHING})|(?P<instant>{_INSTANT})|(?P<day>{_DAY})"
    r"|(?P<uuid>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)"
    r"|(?P<hex>\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b)"
    r"|(?P<base64>[A-Za-z0-9+/_-]{40,}=*)"
    r"|(?P<measured>\d[\d,.]*)(?= ?(?:s|ms|µs|MiB|[a-z]*/s|(?:[a-z]+ )?a second)\b)"
    r"|(?P<space>[ \t]+)"
)


class Run(Struct, frozen=True):
    """When what is compared was said: from the start of the page's run until now."""

    since: datetime

    def marked(self, said: str) -> str:
        """What was said, with a mark in place of each instant and day of the run."""
        until = datetime.now(UTC) + timedelta(seconds=1)
        days = {f"{self.since + timedelta(days=days):%Y-%m-%d}" for days in (-1, 0, 1)}

        def mark(found: re.Match[str]) -> str:
            at = datetime.fromisoformat(found[0])
            return _NOW if self.since - timedelta(seconds=1) <= at <= until else found[0]

        said = re.sub(_INSTANT, mark, said)
        return re.sub(_DAY, lambda found: _TODAY if found[0] in days else found[0], said)


def difference(expected: str, said: str, run: Run) -> str | None:
    """What differs, as lines to show; None where what was said matches."""
    pattern = "".join(_line(line) for line in expected.rstrip().splitlines())
    heard = "".join(f"{line.rstrip()}\n" for line in run.marked(said).rstrip().splitlines())
    if re.fullmatch(pattern, heard):
        return None
    shown = difflib.ndiff(expected.splitlines(), [line.rstrip() for line in said.splitlines()])
    return "\n".join(line for line in shown if not line.startswith("?"))


def _line(line: str) -> str:
    line = line.strip()
    if line == ANYTHING:
        return r"(?:.*\n)*"
    pattern, end = r"[ \t]*", 0
    for found in _VOLATILE.finditer(line):
        pattern += re.escape(line[end : found.start()]) + _shape(found)
        end = found.end()
    return pattern + re.escape(line[end:]) + r"\n"


def _shape(found: re.Match[str]) -> str:
    text = found[0]
    match found.lastgroup:
        case "any":
            return ".*"
        case "instant":
            return f"(?:{re.escape(text)}|{_NOW})"
        case "day":
            return f"(?:{re.escape(text)}|{_TODAY})"
        case "uuid":
            return "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        case "hex":
            return f"[0-9a-f]{{{len(text)}}}"
        case "base64":
            return "[A-Za-z0-9+/_-]{40,}=*"
        case "measured":
            return r"\d[\d,.]*"
        case _:
            return r"[ \t]+"
