import subprocess
import sys

import pytest

from kubelet_plugin.cli.cdi import command
from tests.unit.cli.cdi_command import run

VERBS = sorted(command.list_commands(None))  # type: ignore[arg-type]  # it needs none


def test_the_verbs_are_these() -> None:
    assert VERBS == [
        "classes",
        "devices",
        "dirs",
        "generate",
        "inject",
        "install",
        "monitor",
        "remove",
        "resolve",
        "specs",
        "validate",
        "vendors",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_begins_with_what_it_does(verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.split("\n\n")[1].strip()


def test_the_help_tells_the_exit_codes_and_where_to_begin() -> None:
    output = run("--help").stdout
    assert "Exit codes:" in output
    assert "kubelet-plugin cdi devices" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["resolve"], "Missing argument 'NAME...'"),
        (["devices", "--output", "xml"], "'xml' is not one of 'table', 'json', 'yaml'"),
        (["inject", "/does/not/exist", "a/b=c"], "File '/does/not/exist' does not exist"),
        (["validate", "/does/not/exist"], "Path '/does/not/exist' does not exist"),
        (["validate", "/", "--spec-dir", "/"], "Give FILE or DIR, or --spec-dir, not both"),
        (["validate", "--for", "rkt"], "'rkt' is not one of 'containerd-1.7'"),
        (["generate", "--kind", "vendor.com/class"], "Give --kind and --device, or --plugin"),
        (["generate", "--kind", "vendor.com/class", "--device", "d"], "has not the form NAME=PATH"),
        (["generate", "--kind", "vendor.com/class", "--device", "d=null"], "'null' is not an absolute path"),
        (["generate", "--plugin", "crand", "--mount", "/a"], "has not the form HOST:CONTAINER"),
        (["remove", "vendor"], "kind 'vendor' has not the form vendor/class"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_usage_error(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.split())


def test_the_shell_completes_the_verbs() -> None:
    code = "from kubelet_plugin.cli import main; main(prog_name='kubelet-plugin')"
    environment = {"_KUBELET_PLUGIN_COMPLETE": "bash_complete", "COMP_WORDS": "kubelet-plugin cdi v", "COMP_CWORD": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["plain,validate", "plain,vendors"]


def test_listing_devices_imports_neither_the_framework_nor_what_is_heavy() -> None:
    code = (
        "import sys; from kubelet_plugin.cli import main; main(['cdi', 'devices'], standalone_mode=False); "
        "print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"asyncio", "yaml", "rich", "logging", "kubelet_plugin.runtime", "kubelet_plugin.kubelet"} & {*modules}
