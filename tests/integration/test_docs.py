"""What the documentation tells people to type is true."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kubelet_plugin.cli import main
from kubelet_plugin.config import load

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEST = re.compile(r"^(async )?def test_", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)\)")


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            found.append((f"{page.relative_to(ROOT)} {number}", text))
    return found


def commands(program: str) -> list[str]:
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    lines += [code for page in PAGES for code in re.findall(r"`([^`\n]+)`", page.read_text())]
    return sorted({line.strip() for line in lines if re.match(rf"{program} [a-z-]", line.strip())})


EXAMPLES = [(place, code) for place, code in blocks("python") if not TEST.search(code)]
TESTS = "\n\n".join(code for _, code in blocks("python") if TEST.search(code))


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_target_that_the_docs_name_exists(command: str) -> None:
    target = next(word for word in command.split()[1:] if "=" not in word)
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", commands("kubelet-plugin"))
def test_a_command_line_that_the_docs_name_is_understood(command: str) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    if "--help" in arguments:
        assert CliRunner().invoke(main, arguments).exit_code == 0
        return
    name, *rest = arguments
    verb = main.get_command(click.Context(main), name)
    assert verb
    verb.make_context(name, rest)


@pytest.mark.parametrize(("place", "code"), EXAMPLES, ids=[place for place, _ in EXAMPLES])
def test_an_example_in_the_docs_runs_until_its_main(place: str, code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code.replace("__main__", "not now")], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("place", "code"), EXAMPLES, ids=[place for place, _ in EXAMPLES])
def test_an_example_in_the_docs_offers_devices(place: str, code: str) -> None:
    tree = ast.parse(code)
    (name,) = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    probe = f"\nimport asyncio\nprint(len(asyncio.run(anext({name}().devices())) or []))\n"
    code = code.replace("__main__", "not now")
    done = subprocess.run([sys.executable, "-c", code + probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tests_in_the_docs_pass(tmp_path: Path) -> None:
    (tmp_path / "test_of_the_docs.py").write_text(TESTS)
    options = ["-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f" {len(TEST.findall(TESTS))} passed" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_of_the_docs_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.parametrize("text", [text for _, text in blocks("yaml") if text.startswith("version: v1")])
def test_a_configuration_that_the_docs_show_is_without_fault(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert load([str(tmp_path)], domain="vendor.example")


def test_the_options_table_of_the_readme_is_that_of_the_command() -> None:
    table = dict(
        re.findall(r"^\| `--([a-z-]+)[^`]*` \| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    run = main.get_command(click.Context(main), "run")
    assert run
    options = {option.name or "" for option in run.params if isinstance(option, click.Option)}
    assert table == {name.replace("_", "-"): f"KUBELET_PLUGIN_{name.upper()}" for name in options}
