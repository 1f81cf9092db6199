"""Pages, dealt out to the test files, so that files of tests can run beside each other. New pages are dealt too."""

from __future__ import annotations

from functools import cache

from tests.docs.pages import Page, page_names, read_page

PARTS = 3


@cache
def part(number: int) -> list[Page]:
    """The pages of a part, from 0. Those that need Kafka are together in part 0: one broker serves them."""
    pages = [read_page(name) for name in page_names()]
    with_kafka = [page for page in pages if "kafka" in page.comments]
    others = [page for page in pages if page not in with_kafka and page.blocks]
    return [*(with_kafka if number == 0 else []), *others[number::PARTS]]
