"""What each megabyte of an image is."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.image.layers import Layer
from deploy.image.tree import Tree

MB = 1_000_000
_NAMED = 0.05  # megabytes that are worth a line of their own


@dataclass(frozen=True, slots=True)
class Row:
    """A part of an image.

    Attributes:
        layer: The layer it is in.
        owner: The package it is from; empty for the whole layer.
        size: In bytes, as files.
        compressed: In the layer, in bytes; a part's share is in proportion to what its files come to alone.
    """

    layer: str
    owner: str
    size: int
    compressed: int


def rows(tree: Tree, layers: Iterable[Layer]) -> list[Row]:
    """The parts of an image, layer by layer, each with its largest part first."""
    found = []
    for layer in layers:
        entries = [entry for entry in tree.values() if entry.layer == layer.name]
        alone: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for entry in entries:
            alone[entry.owner] = alone.get(entry.owner, 0) + _packed(entry.data or b"")
            sizes[entry.owner] = sizes.get(entry.owner, 0) + entry.size
        share = len(layer.data) / max(1, sum(alone.values()))
        parts = [Row(layer.name, owner, sizes[owner], round(packed * share)) for owner, packed in alone.items()]
        found.append(Row(layer.name, "", sum(sizes.values()), len(layer.data)))
        found.extend(sorted(parts, key=lambda row: -row.compressed))
    return found


def _packed(data: bytes) -> int:
    return len(zlib.compress(data, 6))


def table(parts: Sequence[Row]) -> str:
    """The parts as text, in megabytes; the smallest of a layer in one line."""
    lines = [f"  {'MB':>6} {'packed':>6}"]
    for layer in dict.fromkeys(row.layer for row in parts):
        (whole,) = (row for row in parts if row.layer == layer and not row.owner)
        inside = [row for row in parts if row.layer == layer and row.owner]
        lines.append(_line(whole.size, whole.compressed, f"layer {layer}"))
        lines += [_line(row.size, row.compressed, f"  {row.owner}") for row in inside if row.compressed >= _NAMED * MB]
        rest = [row for row in inside if row.compressed < _NAMED * MB]
        if rest:
            words = f"  {len(rest)} more: {', '.join(sorted(row.owner for row in rest))}"
            lines.append(_line(sum(row.size for row in rest), sum(row.compressed for row in rest), words))
    whole_rows = [row for row in parts if not row.owner]
    lines.append(_line(sum(row.size for row in whole_rows), sum(row.compressed for row in whole_rows), "all"))
    return "\n".join(lines)


def _line(size: int, compressed: int, words: str) -> str:
    return f"  {size / MB:6.2f} {compressed / MB:6.2f} {words}"
