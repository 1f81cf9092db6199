"""Every block of the pages of this part does what its page says."""

from __future__ import annotations

import pytest

from tests.docs.conftest import RunPage
from tests.docs.pages import Page
from tests.docs.parts import part


@pytest.mark.parametrize("page", part(2), ids=lambda page: page.name)
def test_the_page_is_true(page: Page, run_page: RunPage) -> None:
    run_page(page)
