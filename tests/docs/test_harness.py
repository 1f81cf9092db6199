"""The tests of pages can fail: a page that is wrong in any way is told so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.docs import running
from tests.docs.conftest import RunPage
from tests.docs.ledgers import Ledgers
from tests.docs.matching import Run, difference
from tests.docs.pages import NOT_RUN, Wrong, page_names, parse, read_page
from tests.docs.parts import PARTS, part
from tests.docs.running import Running

STARTED = Run(datetime.now(UTC))


@pytest.fixture(scope="module")
def under_way(program: Path, ledgers: Ledgers) -> Iterator[Running]:
    """A page under way on an empty ledger, for all that go wrong at their first block."""
    with running.running(ledgers, program, parse("page.md", "")) as page:
        yield page


WELL = """
# A page

```console
$ loyalty programme create tea --currency CNY
…
$ export LOYALTY_PROGRAMME=tea
$ loyalty enrol ada --at 2026-01-01T00:00:00Z
Enrolled ada.
  key enrolment-fbbd3dea-a314-4dcb-a048-964eccb6d63d, at 2026-01-01T00:00:00Z; journal 1, position 2 (--at-least 1:2)
$ loyalty balance ada
ada (open): balance 0 points
…
$ loyalty redeem ada 10 --at 2026-01-02T00:00:00Z  # exit code 3
Refused. TERMS_MISSING: …
```

```python
print(1 + 1)
```

```text
2
```

```sql
SELECT current_user;
```

```text
  current_user
----------------
 loyalty_reader
(1 row)
```

<!-- another terminal -->
```console
$ loyalty serve
Listening on http://127.0.0.1:8080, described at /v1/docs.
```

```sh
curl -sS http://127.0.0.1:8080/v1/docs/openapi.json > openapi.json
grep -q 3.1 openapi.json
```

```usage
loyalty balance MEMBER [--as-of T] [--json]
```
"""


def test_a_page_that_is_right_passes(run_page: RunPage) -> None:
    run_page(parse("page.md", WELL))


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("```console\n$ echo 1\n2\n```", "page.md:2: $ echo 1\nsays something else"),
        ("```console\n$ echo 1 2\n1 …\n3\n```", "says something else"),
        ("```console\n$ echo 2026-01-01T00:00:00Z\n2026-01-01T00:00:01Z\n```", "says something else"),
        ("```console\n$ false\n```", "exit code 1 rather than 0"),
        ("```console\n$ true # exit code 3\n```", "exit code 0 rather than 3"),
        ("```console\nloyalty balance ada\n```", "a session begins with a command"),
        ("```console\n$ loyalty balanc ada\n```", "exit code 2 rather than 0"),
        ("```python\nassert 1 + 1 == 3\n```", "AssertionError"),
        ("```python\nprint(2)\n```\n\n```text\n3\n```", "prints something else"),
        ("```sql\nSELECT member FROM loyalty_read.nothing;\n```", "does not exist"),
        ("```sql\nDELETE FROM loyalty.events;\n```", "permission denied"),
        ("```sql\nSELECT 1 AS one;\n```\n\n```text\n one\n-----\n   2\n(1 row)\n```", "prints something else"),
        ('```json\n{"type": "purchase.v1", "id": "1"}\n```', "is a required property"),
        ('```json\n{"name": "no type"}\n```', "no schema"),
        ('```json\n{"type": "purchase.v1",\n```', "neither JSON nor JSON Lines"),
        ("```usage\nloyalty balance MEMBER [--as-off T]\n```", "has no option --as-off"),
        ("```usage\nloyalty audit balance MEMBER\n```", "loyalty audit has no command 'balance'"),
        ("```text\nloyalty balance ada\n```", "this is to be run"),
        ("```text\nmake everything\n```", "the Makefile has no target everything"),
        ("```\nloyalty balance ada\n```", "a block of kind ''"),
        ("```bash\ntrue\n```", "a block of kind 'bash'"),
    ],
)
def test_a_page_that_is_wrong_is_told(block: str, says: str, under_way: Running) -> None:
    with pytest.raises(Wrong) as told:
        under_way.page(parse("page.md", block))
    assert says in str(told.value)


@pytest.mark.parametrize("script", ["false\ntrue", "echo $NOBODY_SET_THIS", "exit"])
def test_a_script_that_fails_on_the_way_is_told(script: str, run_page: RunPage) -> None:
    with pytest.raises(Wrong, match=r"page\.md:1: ended "):
        run_page(parse("page.md", f"```sh\n{script}\n```"))


@pytest.mark.parametrize(
    "markdown",
    [
        "```console\n$ true\n",
        "``` console\n```",
        "```console here\n```",
        "<!-- leger: coffee -->",
        "<!-- file: a.txt -->\nwords\n```text\n```",
    ],
)
def test_a_fence_or_a_comment_that_is_none_is_told(markdown: str) -> None:
    with pytest.raises(Wrong):
        parse("page.md", markdown)


def test_what_comes_to_be_said_in_another_terminal_is_compared(
    under_way: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SHOWN_SECONDS_MAX", 0.1)
    with pytest.raises(Wrong, match="does not come to say"):
        under_way.page(parse("page.md", "<!-- another terminal -->\n```console\n$ echo 1\n2\n```"))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("a  b\n", "a\tb\n"),
        ("…\nlast", "first\nsecond\nlast\n"),
        ("key 3c903fd8a61e", "key 0000aaaa1111"),
        ("recorded 2020-01-01T00:00:00.123456Z", "recorded NOW"),
        ("as of 2020-01-01", "as of TODAY"),
        ("done (0.3 s).", "done (1,250.7 s)."),
        ("8fc2bb3a-9d1e-4f7b-8a5c-0123456789ab", "00000000-0000-0000-0000-00000000000a"),
    ],
    ids=["spaces", "left out", "key", "instant", "day", "seconds", "uuid"],
)
def test_what_differs_from_run_to_run_matches(page: str, said: str) -> None:
    now = datetime.now(UTC)
    said = said.replace("NOW", now.isoformat()).replace("TODAY", f"{now:%Y-%m-%d}")
    assert difference(page, said, STARTED) is None


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("key 3c903fd8a61e", "key 3c903fd8a61"),
        ("as of 2020-01-01", "as of 2020-01-02"),
        ("5 points", "6 points"),
        ("1,000", "1000"),
        ("", "something"),
    ],
)
def test_what_is_the_same_in_every_run_is_compared(page: str, said: str) -> None:
    assert difference(page, said, STARTED) is not None


def test_every_page_with_blocks_is_in_one_part() -> None:
    dealt = [page.name for number in range(PARTS) for page in part(number)]
    assert sorted(dealt) == sorted(name for name in page_names() if read_page(name).blocks)


def test_what_is_not_run_is_a_short_list_that_is_up_to_date() -> None:
    found = {
        (name, start)
        for name, start in NOT_RUN
        for block in read_page(name).blocks
        if block.why_not_run is not None and block.begins(start)
    }
    assert found == set(NOT_RUN)
    assert len(NOT_RUN) <= 10
