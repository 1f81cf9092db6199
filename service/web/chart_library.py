"""The library that draws charts, plotly.js, as its Python package has it."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

SCRIPT: Final = files("plotly").joinpath("package_data", "plotly.min.js")
_STYLES: Final = re.compile(rb"\.textContent=`([^`\\$]*)`")
"""Where it gives a style element the whole of its text."""


@cache
def style_hashes() -> tuple[str, ...]:
    """The hashes of the style elements that the script makes, for a content security policy: an empty one, which it
    then fills rule by rule, and those whose text it carries.
    """
    texts = [b"", *_STYLES.findall(SCRIPT.read_bytes())]
    return tuple(f"'sha256-{b64encode(sha256(text).digest()).decode()}'" for text in texts)
