"""Templates: one environment for each language, with its texts and its formats. Everything in them is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from babel.support import Translations
from jinja2 import Environment, PackageLoader, StrictUndefined

from service.web.formats import filters
from service.web.languages import LANGUAGES, translations
from service.web.security import ROOT, TOKEN_FIELD
from service.web.static_files import static_url
from service.web.words import WORDS


@cache
def environment(code: str) -> Environment:
    """The templates of a language, by its code."""
    language = LANGUAGES[code]
    found = Environment(
        loader=PackageLoader("service.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    found.install_gettext_translations(_texts(code), newstyle=True)  # type: ignore[attr-defined]
    found.filters |= filters(language.locale)
    found.filters["label"] = lambda text: translated(code, WORDS.get(text, text))
    found.globals |= {
        "languages": LANGUAGES,
        "language": language,
        "root": ROOT,
        "static_url": static_url,
        "token_field": TOKEN_FIELD,
    }
    return found


@cache
def _texts(code: str) -> Translations:
    return translations(LANGUAGES[code])


def translated(code: str, text: str) -> str:
    """A text in a language; as it is where the catalogue does not have it."""
    return _texts(code).gettext(text) if text else ""


def render(code: str, template: str, context: dict[str, Any]) -> str:
    """A page in a language."""
    return environment(code).get_template(template).render(context)
