"""Charts: what the library draws, as data in the page. Its figures must be in a table beside it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from markupsafe import Markup
from msgspec import Struct

_UNSAFE: Final = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


class Chart(Struct, frozen=True, kw_only=True):
    """A chart: `traces` and `layout` are those of plotly.js.

    A text that begins with `--` is the colour of the theme that has that name in the style sheet, such as `--chart-1`.
    `title` says what is shown, to whoever cannot see it.
    """

    title: str
    traces: Sequence[dict[str, Any]]
    layout: dict[str, Any] = {}

    def json(self) -> Markup:
        """The data for the page; safe inside a script element."""
        text = msgspec.json.encode({"traces": self.traces, "layout": self.layout}, enc_hook=str).decode()
        return Markup(text.translate(_UNSAFE))
