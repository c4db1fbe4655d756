import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from kubelet_plugin.cli import main


def test_the_version_is_shown() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert re.fullmatch(r"kubelet-plugin \d+\.\d+\.\d+\S*\n", result.output)


def test_the_help_of_run_explains_each_option_with_its_variable() -> None:
    output = CliRunner().invoke(main, ["run", "--help"]).output
    for option in ("plugin-dir", "cdi-dir", "inject", "domain", "count", "host-root", "log-format", "log-level"):
        assert f"--{option}" in output
        assert f"KUBELET_PLUGIN_{option.upper().replace('-', '_')}" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "gpu"], "'gpu' is not one of 'kvm', 'crand'"),
        (["run", "--count", "0"], "0 is not in the range x>=1"),
        (["run", "--count", "200000"], "4194304 bytes that a kubelet"),
        (["run", "--plugin-dir", "relative"], "'relative' is not an absolute path"),
        (["run", "--domain", "Not A Domain"], "the resource name 'Not A Domain/kvm' is not DOMAIN/NAME"),
        (["run", "--inject", "magic"], "'magic' is not one of"),
        (["run", "--plugin-dir", "/" + "d" * 120], "too long for a unix socket"),
    ],
)
def test_a_mistake_is_a_usage_error_without_a_traceback(arguments: list[str], words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "kubelet_plugin", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
