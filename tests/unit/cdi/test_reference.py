"""The reference of the library says what is so."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

from kubelet_plugin import cdi

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cdi.md"


def test_every_example_gives_what_it_says() -> None:
    outcome = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.REPORT_NDIFF)
    assert (outcome.failed, outcome.attempted > 20) == (0, True)


@pytest.mark.parametrize("name", cdi.__all__)
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE.read_text())


@pytest.mark.parametrize("name", cdi.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    public = getattr(cdi, name)
    assert inspect.getdoc(public) if callable(public) else True
