"""Both languages: every text of templates and modules is in the catalogues, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir

import service.web
from projections.satisfaction_figures import FIGURES, Tally, figure
from projections.satisfaction_scores import Sums, acsi
from service.http.problems import REQUEST_CODES
from service.web import fixed_texts
from service.web.languages import LANGUAGES, catalogues, choose

WEB = Path(service.web.__file__).parent
KEYWORDS = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)}
METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]


def used() -> dict[Any, str]:
    """Texts that are translated → where the first of each is."""
    found: dict[Any, str] = {}
    options = {"**.html": {"trimmed": "true", "silent": "false"}}
    for file, line, message, _, _ in extract_from_dir(WEB, METHODS, options, keywords=KEYWORDS):
        found.setdefault(message, f"{file}:{line}")
    return found


def test_every_text_is_translated_and_no_translation_is_unused() -> None:
    wanted = used()
    known = {message.id: message for found in catalogues(LANGUAGES["zh"]) for message in found if message.id}
    assert {message: place for message, place in wanted.items() if message not in known} == {}
    assert sorted(map(str, known.keys() - wanted.keys())) == []
    for message in known.values():
        texts = message.string if isinstance(message.string, (list, tuple)) else (message.string,)
        assert all(texts), message.id
        assert not message.fuzzy, message.id
        if message.id not in fixed_texts.METHODS:  # shown as they are: a "%" in them is one
            assert not list(message.check()), message.id


def test_fixed_sentences_of_elsewhere_are_those_that_are_said_there() -> None:
    assert tuple(title for _, title in REQUEST_CODES.values()) == fixed_texts.PROBLEMS
    figures = {figure(name, Tally()).method for name in FIGURES}
    assert {*figures, acsi(Sums(count=0, total=0), weighted=True).method} == set(fixed_texts.METHODS)


@pytest.mark.parametrize(
    ("cookie", "header", "code"),
    [
        (None, None, "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "en-US,en;q=0.9,zh;q=0.1", "en"),
        (None, "zh;q=0.1, en;q=0.9", "en"),
        (None, "fr,zh-TW;q=0.5", "zh"),
        (None, "fr,de", "en"),
        (None, "zh;q=nonsense,;;;,\x00", "en"),
        (None, "en;q=0,zh;q=0.1", "zh"),
        ("zh", "en", "zh"),
        ("xx", "zh", "zh"),
    ],
)
def test_the_language_is_what_was_chosen_or_else_what_the_browser_likes(
    cookie: str | None, header: str | None, code: str
) -> None:
    assert choose(cookie, header).code == code
