"""Running `kubelet-plugin cdi` in this process."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from kubelet_plugin import cdi
from kubelet_plugin.cli import main

NAME = "vendor.com/class=d"


def spec(*names: str, kind: str = "vendor.com/class", env: str = "A=1", version: str = "") -> cdi.Spec:
    edits = cdi.ContainerEdits(env=(env,))
    return cdi.Spec(kind, tuple(cdi.Device(name, edits) for name in names), version=version)


def put(path: Path, content: cdi.Spec | str) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.parent.chmod(0o755)
    path.write_text(content if isinstance(content, str) else cdi.dumps(content))
    path.chmod(0o644)
    return str(path)


def run(*arguments: str | Path, text: str = "") -> Result:
    result = CliRunner().invoke(main, ["cdi", *map(str, arguments)], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def found(*arguments: str | Path) -> Any:
    """What is printed as JSON where all is well."""
    result = run(*arguments, "--output", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)
