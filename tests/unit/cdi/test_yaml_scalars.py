import math

import pytest

from kubelet_plugin import cdi
from kubelet_plugin.cdi.yaml_scalars import as_text, is_ambiguous, resolve

TAG = "tag:yaml.org,2002:"

PLAIN = [
    ("", None),
    ("~", None),
    ("NULL", None),
    ("nUll", "nUll"),
    ("y", True),
    ("Yes", True),
    ("ON", True),
    ("n", False),
    ("oFf", "oFf"),
    ("off", False),
    ("0", 0),
    ("-7", -7),
    ("+7", 7),
    ("0660", 0o660),
    ("06_60", 0o660),
    ("0o17", 15),
    ("0b101", 5),
    ("-0x1F", -31),
    ("1_000", 1000),
    ("08", 8.0),
    ("1e3", 1000.0),
    ("1.", 1.0),
    (".5", 0.5),
    ("._5", "._5"),
    ("-.inf", -math.inf),
    ("18446744073709551615", 2**64 - 1),
    ("+18446744073709551615", 1.8446744073709552e19),
    ("-9223372036854775809", -9.223372036854775808e18),
    ("0xfffffffffffffffff", "0xfffffffffffffffff"),
    ("1e999", "1e999"),
    ("12:34", "12:34"),
    ("2024-01-01", "2024-01-01"),
    ("1.1.0", "1.1.0"),
    ("-", "-"),
    ("_1", "_1"),
    ("/dev/kvm", "/dev/kvm"),
]


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_a_plain_scalar_is_what_it_is_to_the_runtimes(text: str, value: object) -> None:
    resolved = resolve(text, None)
    assert (type(resolved), resolved) == (type(value), value)


def test_not_a_number_is_a_number() -> None:
    number = resolve(".NaN", None)
    assert isinstance(number, float)
    assert math.isnan(number)


@pytest.mark.parametrize(
    ("text", "tag", "value"),
    [
        ("1", "str", "1"),
        ("ZA==", "binary", "d"),
        ("Z\n A==", "binary", "d"),
        ("1", "int", 1),
        ("1", "float", 1.0),
        ("yes", "bool", True),
        ("~", "null", None),
        ("2024-01-01", "timestamp", "2024-01-01"),
        ("1", "anything", "1"),
    ],
)
def test_a_tag_says_what_a_scalar_is(text: str, tag: str, value: object) -> None:
    resolved = resolve(text, TAG + tag)
    assert (type(resolved), resolved) == (type(value), value)


def test_a_scalar_with_a_tag_of_the_author_s_own_is_text() -> None:
    assert resolve("1", "!mine") == "1"


@pytest.mark.parametrize(
    ("text", "tag"), [("x", "int"), ("1.5", "int"), ("1", "bool"), ("1", "null"), ("*", "binary"), ("/w==", "binary")]
)
def test_a_tag_that_does_not_fit_is_refused(text: str, tag: str) -> None:
    with pytest.raises(cdi.Error, match=f"is no !!{tag}"):
        resolve(text, TAG + tag)


@pytest.mark.parametrize(
    "text", ["y", "No", "ON", "0660", "1_000", "0o17", "0b1", "-0x1", "1e3", "08", "12:34", "1:30:00", "2024-01-01"]
)
def test_what_readers_understand_differently_is_ambiguous(text: str) -> None:
    assert is_ambiguous(text)


@pytest.mark.parametrize(
    "text", ["", "~", "null", "true", "FALSE", "0", "-7", "432", "1.5", ".5", "1.5e+3", "0x1F", ".inf", "1.1.0", "d0"]
)
def test_what_all_readers_understand_alike_is_not(text: str) -> None:
    assert not is_ambiguous(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (None, ""),
        (7, "7"),
        (1.0, "1"),
        (-0.0, "-0"),
        (1.5, "1.5"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (123456.0, "123456"),
        (1000000.0, "1e+06"),
        (1234567.5, "1.2345675e+06"),
        (-1e20, "-1e+20"),
        (1e-100, "1e-100"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_a_number_where_text_is_wanted_is_written_as_go_does(value: float | None, text: str) -> None:
    assert as_text(value) == text
