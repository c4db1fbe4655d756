import pytest

from deploy.image import wheels
from deploy.image.errors import ImageError
from deploy.image.tree import PYTHON, tree_of
from tests.unit.image import packing


def test_a_wheels_files_go_where_debians_python_looks() -> None:
    tree = tree_of(wheels.entries(packing.wheel({"thing/__init__.py": b"x"}), "thing", PYTHON))
    assert tree["usr/lib/python3/dist-packages/thing/__init__.py"].data == b"x"


def test_a_wheel_with_files_for_elsewhere_is_refused() -> None:
    with pytest.raises(ImageError, match="elsewhere"):
        list(wheels.entries(packing.wheel({"thing-1.0.data/scripts/run": b"#!"}), "thing", PYTHON))


@pytest.mark.parametrize(
    ("stated", "license_"),
    [
        ("License-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
        ("License: BSD-3-Clause\n", "BSD-3-Clause"),
        ("License: The MIT License (MIT)\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("License: as you like it\nClassifier: License :: OSI Approved :: BSD License\n", ""),
        ("", ""),
    ],
)
def test_a_licence_is_an_expression_or_nothing(stated: str, license_: str) -> None:
    assert wheels.metadata(packing.wheel({}, f"Name: Thing\nVersion: 1\n{stated}")).license == license_


def test_pins_have_all_their_checksums() -> None:
    text = (
        "Some.Thing==1.0 \\\n    --hash=sha256:" + "a" * 64 + " \\\n    --hash=sha256:" + "b" * 64 + "\nother==2 ; x\n"
    )
    assert wheels.pins(text) == {
        "some-thing": wheels.Pin("1.0", frozenset({"a" * 64, "b" * 64})),
        "other": wheels.Pin("2", frozenset()),
    }
