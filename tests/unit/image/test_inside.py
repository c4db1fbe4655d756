import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

TASK = Path(__file__).parents[3] / "deploy" / "image" / "inside.py"
UNCHECKED = (1).to_bytes(4, "little")
SOURCE = '''"""Of the module."""
class Thing:
    """Of the class."""
def call():
    """Of the function."""
    assert False, "stays"
'''


def run(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, "-B", TASK, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def compiled(directory: Path, path: str, source: str = SOURCE) -> bytes:
    file = directory / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    run("compile", directory)
    return Path(importlib.util.cache_from_source(str(file))).read_bytes()


def namespace(data: bytes) -> dict[str, object]:
    code = marshal.loads(data[16:])
    assert isinstance(code, CodeType)
    found: dict[str, object] = {}
    exec(code, found)
    return found


def test_byte_code_is_never_compared_with_its_source(tmp_path: Path) -> None:
    data = compiled(tmp_path, "a.py")

    assert data[:8] == importlib.util.MAGIC_NUMBER + UNCHECKED
    assert data[8:16] == importlib.util.source_hash(SOURCE.encode())


def test_docstrings_go_and_assertions_stay(tmp_path: Path) -> None:
    found = namespace(compiled(tmp_path, "a.py"))
    call = found["call"]

    assert found.get("__doc__") is found["Thing"].__doc__ is call.__doc__ is None
    assert callable(call)
    with pytest.raises(AssertionError, match="stays"):
        call()


def test_our_own_docstrings_stay(tmp_path: Path) -> None:
    assert namespace(compiled(tmp_path, "kubelet_plugin/a.py"))["__doc__"] == "Of the module."


def test_a_function_that_is_a_docstring_alone_still_is_one(tmp_path: Path) -> None:
    call = namespace(compiled(tmp_path, "a.py", 'def call():\n    """Nothing."""\n'))["call"]
    assert callable(call)
    assert call() is None


def test_byte_code_names_the_path_that_the_file_will_have(tmp_path: Path) -> None:
    code = marshal.loads(compiled(tmp_path, "usr/lib/a.py")[16:])
    assert code.co_filename == "/usr/lib/a.py"


def test_the_directory_makes_no_difference_to_byte_code(tmp_path: Path) -> None:
    assert compiled(tmp_path / "one", "a.py") == compiled(tmp_path / "other", "a.py")


def test_a_file_for_another_python_gets_no_byte_code(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("print 'hello'")
    run("compile", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["old.py"]


def test_what_is_compressed_is_the_same_each_time_and_names_no_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(b"content" * 100)
    run("compress", tmp_path / "one", tmp_path / "other")

    one, other = ((tmp_path / f"{name}.gz").read_bytes() for name in ("one", "other"))
    assert one == other
    assert one[4:8] == bytes(4)  # no time


def test_the_built_in_modules_are_those_of_the_interpreter(tmp_path: Path) -> None:
    assert set(run("builtin").split()) == set(sys.builtin_module_names)
