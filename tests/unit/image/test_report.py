from deploy.image.layers import Layer
from deploy.image.report import rows, table
from deploy.image.tree import DEBIAN, Entry, tree_of

TREE = tree_of(
    [
        Entry("a", "large", DEBIAN, bytes(range(256)) * 4000),
        Entry("b", "small", DEBIAN, b"x"),
    ]
)


def test_the_parts_of_a_layer_come_to_the_layer() -> None:
    whole, *parts = rows(TREE, [Layer(DEBIAN, bytes(300_000), "")])

    assert (whole.owner, whole.compressed) == ("", 300_000)
    assert abs(sum(part.compressed for part in parts) - 300_000) <= len(parts)
    assert sum(part.size for part in parts) == whole.size == 1_024_001


def test_small_parts_share_a_line_that_names_them() -> None:
    lines = table(rows(TREE, [Layer(DEBIAN, bytes(300_000), "")])).splitlines()

    assert [line.split(maxsplit=2)[2] for line in lines[1:]] == ["layer debian", "large", "1 more: small", "all"]
