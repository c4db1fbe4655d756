"""Fuzzing of what reads specs: `python -m tests.unit.cdi.fuzzing 100000 [SEED]`.

Golden documents, JSON and YAML, are cut, spliced and strewn with what means something in either. Whatever comes of it,
there is a valid spec that is written back equal, or an error of ours, and it does not take long.
"""

import os
import random
import re
import sys
import time
from collections.abc import Iterator
from itertools import islice

from kubelet_plugin import cdi
from kubelet_plugin.cdi.lines import lines_of
from kubelet_plugin.cdi.validation import faults, refusals
from tests.unit.cdi.golden import DATA, bytes_of, cases

_LONG = 2000
_WORD = re.compile(rb"[A-Za-z0-9_./=:-]+")
_PATIENCE = 2.0

_TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"!!binary ",
    b"? ",
]
_TOKENS += [
    b"~",
    b"1e3",
    b".inf",
    b"\\u",
    b"\\UFFFFFFFF",
    b"---\n",
    b"...\n",
    b"| ",
    b"\xff",
    b"\x00",
    b"9" * 30,
    b"\t",
]


def _mutated(documents: list[bytes], chance: random.Random) -> bytes:
    text = bytearray(chance.choice(documents))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place = chance.randrange(len(text) + 1)
        match chance.randrange(7):
            case 0:
                text[place:place] = chance.choice(_TOKENS)
            case 1:
                del text[place : place + chance.randint(1, 8)]
            case 2:
                text[place : place + 1] = chance.randbytes(1)
            case 3:
                other = chance.choice(documents)
                start = chance.randrange(len(other) + 1)
                text[place:place] = other[start : start + chance.randint(1, 40)]
            case 4:
                lines = text.splitlines(keepends=True) or [bytearray()]
                lines.insert(chance.randrange(len(lines)), lines.pop(chance.randrange(len(lines))))
                text = bytearray(b"".join(lines))
            case _:
                # A word in the place of a word leaves the form of the document as it is.
                if words := [*_WORD.finditer(text)]:
                    start, end = chance.choice(words).span()
                    text[start:end] = chance.choice(_WORD.findall(chance.choice(documents)) or [b"0"])
    return bytes(text)


def _documents() -> list[bytes]:
    golden = [bytes_of(param.values[0]) for param in cases("validate.jsonl")]
    samples = [
        (DATA / kind / name).read_bytes() for kind in ("good", "bad") for name in sorted(os.listdir(DATA / kind))
    ]
    documents = [text for text in golden + samples if len(text) < _LONG]
    # Most are wrong in some way already: those that are not come often.
    return documents + [text for text in documents if _is_valid(text)] * 10


def _is_valid(text: bytes) -> bool:
    try:
        cdi.parse(text)
    except cdi.Error:
        return False
    return True


def mutations(seed: int) -> Iterator[bytes]:
    """Inputs without an end, the same for the same seed."""
    documents, chance = _documents(), random.Random(seed)
    while True:
        yield _mutated(documents, chance)


def judge(text: bytes) -> None:
    """Read an input, and assert what must hold of any."""
    try:
        spec = cdi.decode(text, warn=str)
    except cdi.Error:
        return
    wrong = [*faults(spec)]
    lines_of(text, [fault.keys for fault in wrong])
    try:
        assert cdi.parse(text) == spec
    except cdi.Error:
        assert [*refusals(spec)]
        return
    assert cdi.parse(cdi.dumps(spec).encode()) == spec
    assert cdi.parse(cdi.dumps_yaml(spec).encode()) == spec


def main(inputs: str = "100000", seed: str = "1") -> None:
    """Fuzz; end at the first input that fails, and show it."""
    began = time.monotonic()
    for text in islice(mutations(int(seed)), int(inputs)):
        start = time.monotonic()
        try:
            judge(text)
        except BaseException:
            sys.stderr.write(f"fuzzing: failed with seed {seed} on {text!r}\n")
            raise
        if time.monotonic() - start > _PATIENCE:
            sys.exit(f"fuzzing: took more than {_PATIENCE:g} s for {text!r}")
    sys.stdout.write(f"fuzzing: {inputs} inputs of seed {seed} in {time.monotonic() - began:.0f} s: all is well\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
