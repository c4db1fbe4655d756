import pytest

from kubelet_plugin.cdi.lines import lines_of, place_text

TEXT = b"""\
kind: a
devices:
- name: x
- name: y
  list: [1, {a: 2}]
---
kind: b
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 1),
        (("kind",), 1),
        (("devices", 0), 3),
        (("devices", 1, "name"), 4),
        (("devices", 1, "list", 1, "a"), 5),
        (("devices", 1, "none"), 4),
        (("devices", 7), 2),
        (("none", 0), 1),
    ],
)
def test_the_line_of_a_value_or_of_what_should_hold_it_is_found(keys: tuple[str | int, ...], line: int) -> None:
    assert lines_of(TEXT, [keys]) == {keys: line}


def test_the_lines_of_many_are_found_in_one_pass() -> None:
    places: list[tuple[str | int, ...]] = [("devices", 1), ("kind",), ("devices", 0, "name")]
    assert lines_of(TEXT, places) == {("devices", 1): 4, ("kind",): 1, ("devices", 0, "name"): 3}


def test_json_is_read_too() -> None:
    assert lines_of(b'{"a":\n [1,\n 2]}', [("a", 1)]) == {("a", 1): 3}


def test_of_what_cannot_be_read_no_lines_are_known() -> None:
    assert lines_of(b"a: [", [("a", 0)]) == {}


def test_a_long_text_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubelet_plugin.cdi.lines._VALUES_LIMIT", 100)
    assert lines_of(b"\n".join([b"a:", *[b"- 1"] * 1000]), [("a", 999)]) == {("a", 999): 1}


def test_a_place_is_written_as_people_do() -> None:
    assert place_text(("devices", 0, "name")) == "devices[0].name"
