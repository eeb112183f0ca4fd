"""The pages that follow from the code are those that the code would write."""

import pytest

from docs.make_pages import FOLDER, PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """
    `make docs` writes them again.
    """
    assert PAGES[name]() == (FOLDER / name).read_text(encoding="utf-8")
