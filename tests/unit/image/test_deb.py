import pytest

from deploy.image import deb
from deploy.image.errors import ImageError
from deploy.image.tree import Entry, tree_of
from tests.unit.image import packing


def found(data: bytes) -> dict[str, Entry]:
    return tree_of(deb.entries(data, "thing"))


def test_files_links_and_directories_of_a_package_are_read() -> None:
    tree = found(packing.deb({"usr/": b"", "usr/bin/run": b"#!", "usr/lib/a.so.1": b"elf", "usr/lib/a.so": "a.so.1"}))

    assert set(tree) == {"usr", "usr/bin/run", "usr/lib/a.so.1", "usr/lib/a.so"}
    assert tree["usr"].data is None
    assert (tree["usr/lib/a.so"].target, tree["usr/lib/a.so.1"].data) == ("a.so.1", b"elf")


def test_a_file_that_may_be_run_stays_so_and_no_other_becomes_so() -> None:
    tree = found(packing.deb({"usr/bin/run": b"#!", "usr/lib/a.so.1": b"elf"}))

    assert [tree[path].executable for path in ("usr/bin/run", "usr/lib/a.so.1")] == [True, False]


@pytest.mark.parametrize("padding", [0, 1])
def test_members_of_any_length_are_found(padding: int) -> None:
    whole = packing.deb({"a": b"x"})
    first = f"{'extra':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{padding + 2:<10}`\n".encode()
    data = whole[:8] + first + b"x" * (padding + 2) + b"\n" * padding + whole[8:]

    assert deb.control(data) == deb.control(whole)
    assert found(data) == found(whole)


def test_a_field_of_the_control_file_is_its_value() -> None:
    control = deb.control(packing.deb({"a": b"x"}))
    assert (deb.field(control, "Version"), deb.field(control, "Source")) == ("1:2.0-3", "")


def test_what_is_no_package_is_refused() -> None:
    with pytest.raises(ImageError, match="no Debian package"):
        found(b"<html>not found</html>")
