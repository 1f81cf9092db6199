"""Texts can be read in both themes: the contrast of the style sheet's colours, as WCAG 2 reckons it."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

import service.web

SHEET = (Path(service.web.__file__).parent / "static" / "console.css").read_text(encoding="utf-8")
TEXT, DRAWING = 4.5, 3.0
"""The least contrast of a text, and of what is drawn (WCAG 2.2, 1.4.3 and 1.4.11, level AA)."""
PAIRS = [
    *product(("text", "muted", "accent", "bad"), ("page", "surface")),
    *product(("text", "accent"), ("accent-soft",)),
    *product(("text", "bad"), ("bad-soft",)),
    *product(("text", "warn"), ("warn-soft",)),
    ("accent-text", "accent"),
]
DRAWN = [*(f"chart-{number}" for number in range(1, 7)), "accent", "bad", "warn"]


def colours(theme: str) -> dict[str, str]:
    """The colours of a theme by their names, as six hexadecimal digits."""
    pairs = re.findall(r"--([a-z0-9-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\);", SHEET)
    return {name: light if theme == "light" else dark for name, light, dark in pairs}


def luminance(colour: str) -> float:
    """The relative luminance of a colour, 0 to 1: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_drawings_stand_out(theme: str) -> None:
    known = colours(theme)
    texts = {(text, ground): contrast(known[text], known[ground]) for text, ground in PAIRS}
    assert {pair: found for pair, found in texts.items() if found < TEXT} == {}
    drawn = {name: contrast(known[name], known["surface"]) for name in DRAWN}
    assert {name: found for name, found in drawn.items() if found < DRAWING} == {}


def test_every_colour_is_one_of_the_themes() -> None:
    named = set(re.findall(r"var\(--([a-z0-9-]+)\)", SHEET)) - {"radius", "wide"}
    assert named <= colours("light").keys()
    assert re.findall(r"(?<!light-dark\()#[0-9a-f]{3,8}\b(?!,|\);)", SHEET) == []


def test_the_reckoning_itself() -> None:
    assert contrast("000000", "ffffff") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)
