"""The languages of the console. English is in the templates; others are gettext catalogues, `locale/<language>/*.po`.

They are read as they are, so there is nothing to compile, and each part of the console may have a file of its own.
"""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO
from typing import Final

from babel import Locale
from babel.core import negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from msgspec import Struct


class Language(Struct, frozen=True):
    """A language: its code, its name in itself, and the locale that numbers and dates are written by."""

    code: str
    name: str
    locale: Locale


LANGUAGES: Final = {
    "en": Language("en", "English", Locale("en", "GB")),
    "zh": Language("zh", "中文", Locale("zh", "CN", script="Hans")),
}
DEFAULT: Final = LANGUAGES["en"]


def N_(text: str) -> str:  # noqa: N802 - the usual name, by which texts are found
    """Mark a text that is translated where it is shown."""
    return text


def translations(language: Language) -> Translations:
    """The catalogue of a language; that of English is empty."""
    found = Catalog(language.locale)
    for catalogue in catalogues(language):
        for message in catalogue:
            if message.id:  # the first says what the file is
                found[message.id] = message
    compiled = BytesIO()
    write_mo(compiled, found)
    compiled.seek(0)
    return Translations(compiled)


def catalogues(language: Language) -> list[Catalog]:
    """The files of a language."""
    directory = files("service.web").joinpath("locale", language.code)
    if not directory.is_dir():
        return []
    entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    return [read_po(BytesIO(entry.read_bytes()), abort_invalid=True) for entry in entries if entry.name.endswith(".po")]


def choose(cookie: str | None, accept_language: str | None) -> Language:
    """The language that was chosen, or else the one that the browser likes best."""
    if cookie in LANGUAGES:
        return LANGUAGES[cookie]
    wanted = [tag for tag, _ in sorted(_weighted(accept_language or ""), key=lambda each: -each[1])]
    found = negotiate_locale([tag.replace("-", "_").partition("_")[0] for tag in wanted], list(LANGUAGES))
    return LANGUAGES[found] if found else DEFAULT


def _weighted(accept_language: str) -> list[tuple[str, float]]:
    """The tags of the header with their weights (RFC 9110, 12.4.2); what cannot be read counts as not wanted."""
    found = []
    for part in accept_language.split(",")[:20]:
        tag, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if tag and weight > 0:
            found.append((tag.strip(), weight))
    return found
