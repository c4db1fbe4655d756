"""The reference implementation's answers, as data."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "data" / "cdi"

Case = dict[str, Any]


def cases(name: str) -> list[Any]:
    lines = (DATA / name).read_text().splitlines()
    return [pytest.param(case, id=case["id"]) for case in map(json.loads, lines)]


def bytes_of(case: Case) -> bytes:
    given = case["in"]
    return base64.b64decode(given["doc_b64"]) if "doc_b64" in given else str(given["doc"]).encode()


def rooted(value: Any, root: Path) -> Any:
    """A part of a case, its placeholder for the root of the tree replaced."""
    return json.loads(json.dumps(value).replace("@ROOT@", str(root)))


def plant(files: dict[str, Any], root: Path) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case {"$symlink": target}:
                path.symlink_to(target)
            case {"$dir": inner}:
                path.mkdir()
                plant(inner, path)
            case {"$fifo": mode}:
                os.mkfifo(path)
                path.chmod(mode)
            case str():
                path.write_text(content)
            case _:
                path.write_text(json.dumps(content))


def check_differences(differences: dict[str, str], name: str) -> None:
    """Of what we do otherwise on purpose, all must be debatable, or a crash of the reference."""
    known = {param.values[0]["id"]: param.values[0] for param in cases(name)}
    for id_ in differences:
        case = known[id_]
        assert "debatable" in case or "panic" in (case["out"].get("read"), *case["out"])
