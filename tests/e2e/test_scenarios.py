"""What a plugin and an operator see of the real kubelet and of the embedded one is the same."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kubelet_plugin.kubelet import VERSIONS
from tests.e2e.node import CRAND, PLUGIN, Node, fetched, kubelet_minor
from tests.scenarios.catalogue import OF_PROGRAMS, SCENARIOS, Scenario, name_of, play
from tests.scenarios.embedded import EmbeddedKubelet
from tests.scenarios.programs import Program
from tests.scenarios.real import KUBELET_DIR, RealKubelet

PLUGIN_DIR = f"{KUBELET_DIR}/device-plugins"
MINOR = kubelet_minor()

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        f"1.{MINOR}" not in VERSIONS, reason=f"the kubelet here is 1.{MINOR}: there is no profile of it"
    ),
]


@pytest.fixture
def embedded(node: Node) -> Iterator[EmbeddedKubelet]:
    """An embedded kubelet of the same version; programs see its plugin directory as the node's."""

    def launcher(plugin_dir: Path) -> Sequence[str]:
        script = 'mount --bind "$0" "$1" && shift && exec "$@"'
        return node.command(
            "unshare", "--mount", "--propagation", "private", "sh", "-c", script, plugin_dir, PLUGIN_DIR
        )

    with tempfile.TemporaryDirectory() as root, EmbeddedKubelet(MINOR, Path(root), launcher).running() as kubelet:
        yield kubelet


@pytest.fixture(params=["go-sample", "ours"])
def program(request: pytest.FixtureRequest) -> Program:
    """Upstream's sample plugin, and ours."""
    if request.param == "ours":
        return Program("ours", CRAND, ("crand0", "crand1"), [str(PLUGIN), "run", "crand"], registers_again=True)
    command = ["env", f"PLUGIN_SOCK_DIR={PLUGIN_DIR}", str(fetched("sample-device-plugin"))]
    return Program("go-sample", "example.com/resource", ("Dev-1", "Dev-2"), command, registers_again=False)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_scenario(node: Node, embedded: EmbeddedKubelet, scenario: Scenario) -> None:
    assert play(scenario, embedded) == play(scenario, RealKubelet(node))


@pytest.mark.parametrize("scenario", OF_PROGRAMS, ids=name_of)
def test_scenario_of_a_program(node: Node, embedded: EmbeddedKubelet, scenario: Scenario, program: Program) -> None:
    assert play(scenario, embedded, program) == play(scenario, RealKubelet(node), program)
