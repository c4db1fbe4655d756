from pathlib import Path

from deploy.image.tree import DEBIAN, Entry, parents, put, resolved, tree_of

TREE = tree_of(
    [
        Entry("lib/a.so.1", "a", DEBIAN, b"elf"),
        Entry("lib/a.so", "a", DEBIAN, target="a.so.1"),
        Entry("doc/b", "b", DEBIAN, target="a"),
        Entry("doc/a/copyright", "a", DEBIAN, b"(c)"),
        Entry("doc/c", "c", DEBIAN, target="/doc/b"),
        Entry("loop", "x", DEBIAN, target="loop"),
        Entry("up", "x", DEBIAN, target="doc/a/../../lib/a.so"),
    ]
)


def content(path: str) -> bytes | None:
    entry = resolved(TREE, path)
    return entry.data if entry else None


def test_a_link_leads_to_its_file() -> None:
    assert content("lib/a.so") == b"elf"


def test_links_of_directories_are_followed() -> None:
    assert content("doc/b/copyright") == content("doc/c/copyright") == b"(c)"


def test_a_link_may_lead_upwards() -> None:
    assert content("up") == b"elf"


def test_a_link_that_leads_nowhere_has_no_file() -> None:
    assert resolved(TREE, "loop") is None
    assert resolved(TREE, "lib/b.so") is None


def test_the_directories_above_a_path_come_from_the_top() -> None:
    assert list(parents("a/b/c")) == ["a", "a/b"]
    assert list(parents("a")) == []


def test_what_is_put_on_disk_stays_within_its_directory(tmp_path: Path) -> None:
    put(tree_of([Entry("a", "a", DEBIAN, b"x", executable=True), Entry("b", "a", DEBIAN, target="/a")]), tmp_path)

    assert (tmp_path / "b").read_bytes() == b"x"
    assert (tmp_path / "a").stat().st_mode & 0o111
