"""A browser without JavaScript: it keeps cookies, follows links and sends forms, and knows what a page has."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from tests.waiting import PATIENCE_SECONDS

VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
ADDRESSES = {"href", "src", "action", "formaction", "poster", "data", "srcset"}


class Form:
    """A form of a page: its fields with their values, and its buttons that have a name."""

    def __init__(self, attributes: dict[str, str]) -> None:
        self.method = attributes.get("method", "get").lower()
        self.action = attributes.get("action", "")
        self.fields: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []


class Page(HTMLParser):
    """A page as it came. `text` is what is read of it; `addresses` all that it links to or loads; `pairs` what it says
    of each term of its lists of figures.
    """

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.status = answer.status_code
        self.url = str(answer.url)
        self.path = answer.url.raw_path.decode()
        self.headers = answer.headers
        self.html = answer.text
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.forms: list[Form] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.pairs: dict[str, str] = {}
        self._texts: list[str] = []
        self._term = ""
        self._said: list[str] = []
        self._open: list[str] = []
        self._select = ""
        self.feed(self.html)
        self.close()
        assert self._open == [], f"{self.path}: {self._open} is not closed"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    @property
    def following(self) -> str:
        """The next page of a list, "" where this is the last."""
        found = [attributes["href"] for tag, attributes in self.tags if tag == "a" and attributes.get("rel") == "next"]
        return found[0] if found else ""

    def form(self, action: str) -> Form:
        """The first form that posts or gets to a path that ends so."""
        return next(form for form in self.forms if urlsplit(form.action).path.endswith(action))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        self.addresses += [value for name, value in found.items() if name in ADDRESSES and tag not in {"data"}]
        if tag == "a" and "href" in found and "download" not in found:
            self.links.append(urljoin(self.url, found["href"]))
        if tag == "form":
            self.forms.append(Form(found))
        if self.forms and "form" in self._open:
            self._field(tag, found)
        if tag in {"dt", "dd"}:
            self._said = []
        if tag not in VOID:
            self._open.append(tag)

    def _field(self, tag: str, found: dict[str, str]) -> None:
        form, name = self.forms[-1], found.get("name", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and ("selected" in found or self._select not in form.fields):
            form.fields[self._select] = found.get("value", "")
        elif tag == "button" and name:
            form.buttons.append((name, found.get("value", "")))
        elif tag in {"input", "textarea"} and name:
            if found.get("type") in {"checkbox", "radio"} and "checked" not in found:
                return
            form.fields[name] = found.get("value", "on" if found.get("type") == "checkbox" else "")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open, f"{self.path}: </{tag}> closes nothing"
        assert self._open[-1] == tag, f"{self.path}: </{tag}> closes <{self._open[-1]}>"
        self._open.pop()
        said = " ".join(" ".join(self._said).split())
        if tag == "dt":
            self._term = said
        elif tag == "dd":
            self.pairs.setdefault(self._term, said)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            self.scripts.append(data)
        else:
            self._texts.append(data)
            self._said.append(data)


class Visitor:
    """Somebody with a browser; `language` is what it asks for."""

    def __init__(self, url: str, language: str = "en") -> None:
        self.client = httpx.Client(
            base_url=url, headers={"Accept-Language": language}, timeout=PATIENCE_SECONDS, verify=False
        )

    def get(self, path: str, *, status: int | None = 200, **query: Any) -> Page:
        """A page, at whatever address it ends; a path without `/console` before it is below it."""
        answer = self.client.get(_full(path), params=query or None, follow_redirects=True)
        return self._page(answer, status)

    def send(
        self, form: Form, *, status: int | None = 200, button: tuple[str, str] | None = None, **fields: Any
    ) -> Page:
        """Fill a form in and send it; where it ends."""
        data = form.fields | {name: str(value) for name, value in fields.items()} | dict([button] if button else [])
        if form.method == "get":
            answer = self.client.get(form.action, params=data, follow_redirects=True)
        else:
            answer = self.client.post(form.action, data=data, follow_redirects=True)
        return self._page(answer, status)

    def sign_in(self, key: str, *, status: int = 200) -> Page:
        """Sign in with the text of a key."""
        return self.send(self.get("/sign-in").form("/sign-in"), key=key, status=status)

    def sign_out(self) -> Page:
        return self.send(self.get("/").form("/sign-out"))

    def choose(self, field: str, value: str) -> Page:
        """Choose a language or a theme with the button for it."""
        page = self.get("/")
        form = next(form for form in page.forms if (field, value) in form.buttons)
        return self.send(form, button=(field, value))

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _page(self, answer: httpx.Response, status: int | None) -> Page:
        assert status is None or answer.status_code == status, (
            f"{answer.url}: {answer.status_code} {answer.text[:2000]}"
        )
        return Page(answer)


def _full(path: str) -> str:
    return path if path.startswith(("/console", "http")) else f"/console{path}"
