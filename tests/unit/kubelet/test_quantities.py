from fractions import Fraction

import pytest

from kubelet_plugin.errors import ManifestError
from kubelet_plugin.kubelet.quantities import Quantity


@pytest.mark.parametrize(
    ("given", "value", "canonical"),
    [
        (1, 1, "1"),
        ("2", 2, "2"),
        ("+3", 3, "3"),
        ("-1", -1, "-1"),
        (0, 0, "0"),
        (None, 0, "0"),
        ("1k", 1000, "1k"),
        ("2500", 2500, "2500"),
        ("1000k", 10**6, "1M"),
        ("1Ki", 1024, "1Ki"),
        ("1024Ki", 2**20, "1Mi"),
        ("0.5Ki", 512, "512"),
        ("1.5Ki", 1536, "1536"),
        ("2Ei", 2**61, "2Ei"),
        ("1500m", Fraction(3, 2), "1500m"),
        (0.5, Fraction(1, 2), "500m"),
        ("1.", 1, "1"),
        (".5", Fraction(1, 2), "500m"),
        ("2000m", 2, "2"),
        ("3u", Fraction(3, 10**6), "3u"),
        ("0.1n", Fraction(1, 10**9), "1n"),
        ("-0.1n", Fraction(-1, 10**9), "-1n"),
        ("1.0000001", 1 + Fraction(1, 10**7), "1000000100n"),
        ("12e6", 12 * 10**6, "12e6"),
        ("1E3", 1000, "1e3"),
        ("1e-3", Fraction(1, 1000), "1e-3"),
        ("5e0", 5, "5"),
        (1e22, 10**22, "10000e18"),
        ("100E", 10**20, "100E"),
        (" 1 ", 1, "1"),
    ],
)
def test_a_quantity_has_a_value_and_one_canonical_form(given: object, value: Fraction | int, canonical: str) -> None:
    quantity = Quantity.parse(given)
    assert (quantity.value, str(quantity)) == (value, canonical)


@pytest.mark.parametrize("given", ["one", "", " ", "1.2.3", "1 k", True, [1], {"a": 1}, "0x10"])
def test_what_has_not_the_form_of_a_quantity_is_refused_with_the_form(given: object) -> None:
    with pytest.raises(ManifestError, match="quantities must match the regular expression"):
        Quantity.parse(given)


@pytest.mark.parametrize("given", ["1K", "1Kim", "1mm", "1e", "--1"])
def test_a_suffix_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ManifestError, match="unable to parse quantity's suffix"):
        Quantity.parse(given)


def test_an_enormous_exponent_is_no_work() -> None:
    assert Quantity.parse("1e999999999").value > 2**63
    assert Quantity.parse("1e-999999999").value == Fraction(1, 10**9)


def test_an_enormous_number_of_digits_is_refused() -> None:
    with pytest.raises(ManifestError, match="unable to parse numeric part of quantity"):
        Quantity.parse("9" * 100_000)
