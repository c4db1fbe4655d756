import io
import tarfile

import pytest

from deploy.image.layers import archive
from deploy.image.tree import DEBIAN, OURS, Entry, Tree, tree_of

TREE = tree_of(
    [
        Entry("usr/bin/run", "a", DEBIAN, b"#!", executable=True),
        Entry("usr/lib/a.py", "a", DEBIAN, b"import b"),
        Entry("usr/bin/sh", "a", DEBIAN, target="run"),
        Entry("host", "a", DEBIAN),
        Entry("usr/bin/ours", "ours", OURS, b"#!", executable=True),
    ]
)


def members(tree: Tree, layer: str = DEBIAN) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive(tree, layer, 7))) as tar:
        return {member.name: member for member in tar}


def test_nobody_may_write_anything() -> None:
    assert [m.name for m in members(TREE).values() if m.mode & 0o222 and not m.issym()] == []


def test_everybody_may_read_everything_and_run_what_is_to_be_run() -> None:
    modes = {name: member.mode for name, member in members(TREE).items() if not member.issym()}
    assert modes == {
        "host": 0o555, "usr": 0o555, "usr/bin": 0o555, "usr/bin/run": 0o555, "usr/lib": 0o555, "usr/lib/a.py": 0o444,
    }  # fmt: skip


def test_all_belongs_to_root_at_one_time() -> None:
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members(TREE).values()} == {(0, 0, "", "", 7)}


def test_a_layer_has_its_own_entries_alone_and_the_directories_above_them() -> None:
    assert list(members(TREE, OURS)) == ["usr", "usr/bin", "usr/bin/ours"]


@pytest.mark.parametrize("layer", [DEBIAN, OURS])
def test_the_order_of_entries_makes_no_difference(layer: str) -> None:
    assert archive(tree_of(reversed(TREE.values())), layer, 7) == archive(TREE, layer, 7)
