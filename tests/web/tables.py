"""Tables of pages, as the texts and the links of their cells; and waiting for what they show."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.http.serving import Api
from tests.waiting import wait_for
from tests.web.browsing import Page


class Cell:
    """A cell: its text, and the address it links to, if any."""

    def __init__(self) -> None:
        self.text = ""
        self.address = ""

    @property
    def number(self) -> int:
        """A whole number as pages write it in English."""
        return int(self.text.replace(",", ""))


class _Tables(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, list[list[Cell]]] = {}
        self._rows: list[list[Cell]] | None = None
        self._cell: Cell | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._rows = self.found.setdefault(given.get("id") or "", [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._cell = Cell()
            self._rows[-1].append(self._cell)
        elif tag == "a" and self._cell is not None:
            self._cell.address = given.get("href") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.text = " ".join(f"{self._cell.text} {data}".split())


def table(page: Page, name: str) -> list[list[Cell]]:
    """The rows of a table by its id, those of its head and its foot too."""
    return _Tables(page.html).found[name]


def lines(page: Page, name: str) -> list[list[str]]:
    """The texts of a table below its head."""
    return [[cell.text for cell in row] for row in table(page, name)[1:]]


def refused_field(page: Page, name: str) -> str:
    """What the page says beside a field that it refuses."""
    (field,) = [a for _, a in page.tags if a.get("id") == name]
    assert field["aria-invalid"] == "true"
    beside = field["aria-describedby"]
    start = page.html.index(f'id="{beside}"')
    return page.html[page.html.index(">", start) + 1 : page.html.index("</span>", start)]


def folded(api: Api, *paths: str, at_least: str = "") -> None:
    """Wait until reads of the API have all that was written with it, or `at_least`, however busy the machine is."""
    asked = {"at_least": at_least or api.at_least}
    wait_for(lambda: all(api.get(path, params=asked).status_code == 200 for path in paths))
