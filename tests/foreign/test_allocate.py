"""Allocate and the other hooks: what a container gets, and what happens when a plugin's code fails."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.cdi import ContainerEdits, DeviceNode, Mount
from kubelet_plugin.runtime import Device, Health, Inject, Settings
from tests.foreign import ForeignKubelet, Registered, v1beta1
from tests.foreign.serving import GivenPlugin, served, settings_for

NODE = ContainerEdits(device_nodes=(DeviceNode("/dev/thing", permissions="rw", file_mode=0o600),))
THING = Device("thing0", NODE)
OTHER = Device("thing1", ContainerEdits(device_nodes=(DeviceNode("/dev/thing1", permissions="rw", file_mode=0o600),)))
ILL = Device("ill", NODE, Health.UNHEALTHY, "unplugged")


class Hooked(GivenPlugin):
    """A plugin whose allocate is what a test makes of it."""

    def __init__(self, hook: Callable[..., Any], *devices: Device) -> None:
        super().__init__(*(devices or (THING, OTHER)))
        self.hook = hook

    async def allocate(self, devices: Sequence[Device]) -> ContainerEdits:
        return await self.hook(devices)  # type: ignore[no-any-return]


class HookedInAThread(Hooked):
    def allocate(self, devices: Sequence[Device]) -> ContainerEdits:  # type: ignore[override]
        return self.hook(devices)  # type: ignore[no-any-return]


def listed(kubelet: ForeignKubelet) -> Registered:
    registered = kubelet.registered()
    registered.stream.next()
    return registered


def error_of(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


def test_by_default_the_answer_holds_device_specs_and_cdi_names(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        (container,) = listed(kubelet).plugin.allocate(["thing0"]).container_responses
        (spec,) = container.devices
        assert (spec.container_path, spec.host_path, spec.permissions) == ("/dev/thing", "/dev/thing", "rw")
        assert [device.name for device in container.cdi_devices] == ["example.com/thing=thing0"]
        assert not container.annotations


def test_one_response_comes_back_per_request(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING, OTHER), settings=settings):
        responses = listed(kubelet).plugin.allocate(["thing1"], ["thing0"], []).container_responses
        assert [[d.name for d in r.cdi_devices] for r in responses] == [
            ["example.com/thing=thing1"],
            ["example.com/thing=thing0"],
            [],
        ]


def test_all_devices_of_a_container_are_in_its_answer(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING, OTHER), settings=settings):
        (container,) = listed(kubelet).plugin.allocate(["thing1", "thing0"]).container_responses
        assert [spec.host_path for spec in container.devices] == ["/dev/thing1", "/dev/thing"]


def test_shares_of_one_device_give_its_node_and_name_once(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(*THING.shared(3)), settings=settings):
        (container,) = listed(kubelet).plugin.allocate(["thing0::2", "thing0::0"]).container_responses
        assert len(container.devices) == 1
        assert [device.name for device in container.cdi_devices] == ["example.com/thing=thing0"]


def test_cdi_alone_leaves_the_device_specs_out(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    with served(GivenPlugin(THING), settings=settings_for(tmp_path, inject=Inject.CDI)):
        (container,) = listed(kubelet).plugin.allocate(["thing0"]).container_responses
        assert not container.devices
        assert [device.name for device in container.cdi_devices] == ["example.com/thing=thing0"]


def test_device_specs_alone_leave_cdi_out(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    with served(GivenPlugin(THING), settings=settings_for(tmp_path, inject=Inject.DEVICE_SPEC)):
        (container,) = listed(kubelet).plugin.allocate(["thing0"]).container_responses
        assert not container.cdi_devices
        assert len(container.devices) == 1
        assert not (tmp_path / "cdi").exists()


def test_the_cdi_annotation_holds_all_names_under_one_short_key(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    with served(GivenPlugin(THING, OTHER), settings=settings_for(tmp_path, inject=Inject.CDI_ANNOTATION)):
        (container,) = listed(kubelet).plugin.allocate(["thing0", "thing1"]).container_responses
        ((key, value),) = container.annotations.items()
        assert value == "example.com/thing=thing0,example.com/thing=thing1"
        assert key.startswith("cdi.k8s.io/kubelet-plugin_")
        assert len(key.removeprefix("cdi.k8s.io/")) <= 63
        assert not container.devices
        assert not container.cdi_devices


@pytest.mark.parametrize("ids", [["nobody"], ["thing0", "nobody"], [""]])
def test_an_unknown_id_is_refused(ids: list[str], kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.allocate(ids))
        assert code is grpc.StatusCode.NOT_FOUND
        assert f"example.com/thing: cannot hand out {ids[-1]!r}" in text


def test_an_unhealthy_device_is_refused_with_its_reason(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(ILL), settings=settings):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.allocate(["ill"]))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert text == "example.com/thing: cannot hand out 'ill': it is Unhealthy: unplugged"


def test_what_allocate_returns_comes_on_top(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    async def hook(devices: Sequence[Device]) -> ContainerEdits:
        return ContainerEdits(
            env=(f"THINGS={','.join(d.id for d in devices)}", "URL=a=b"),
            mounts=(Mount("/run/thing", "/run/thing", options=("ro", "bind")),),
        )

    with served(Hooked(hook), settings=settings_for(tmp_path, inject=Inject.CDI)):
        (container,) = listed(kubelet).plugin.allocate(["thing0"]).container_responses
        assert dict(container.envs) == {"THINGS": "thing0", "URL": "a=b"}
        (mount,) = container.mounts
        assert (mount.host_path, mount.container_path, mount.read_only) == ("/run/thing", "/run/thing", True)


async def _raise(devices: Sequence[Device]) -> ContainerEdits:
    raise ValueError("no firmware")


def _raise_in_a_thread(devices: Sequence[Device]) -> ContainerEdits:
    raise ValueError("no firmware")


class Odd(BaseException):
    """Neither an Exception nor one of Python's own."""


def _raiser(error: BaseException, *, in_a_thread: bool) -> Hooked:
    async def hook(devices: Sequence[Device]) -> ContainerEdits:
        raise error

    def hook_in_a_thread(devices: Sequence[Device]) -> ContainerEdits:
        raise error

    return HookedInAThread(hook_in_a_thread) if in_a_thread else Hooked(hook)


@pytest.mark.parametrize("in_a_thread", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        SystemExit("no"),
        KeyboardInterrupt("no"),
        GeneratorExit("no"),
        asyncio.CancelledError("no"),
        Odd("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_hook_raises_ends_that_one_call(
    error: BaseException, in_a_thread: bool, kubelet: ForeignKubelet, settings: Settings
) -> None:
    plugin = _raiser(error, in_a_thread=in_a_thread)
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.allocate(["thing0"]))
        assert code is grpc.StatusCode.INTERNAL
        assert text == f"example.com/thing: allocate(thing0) failed: it raised {type(error).__name__}: no"
        plugin.offer(OTHER)
        assert registered.stream.next() == {"thing1": "Healthy"}


def test_calls_that_their_caller_gave_up_do_not_pile_up(kubelet: ForeignKubelet, settings: Settings) -> None:
    released = threading.Event()

    def hang(devices: Sequence[Device]) -> ContainerEdits:
        released.wait()
        return ContainerEdits()

    with served(HookedInAThread(hang), settings=settings):
        registered = listed(kubelet)
        code, _ = error_of(lambda: registered.plugin.allocate(["thing0"], timeout=0.1))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        _, text = error_of(lambda: registered.plugin.allocate(["thing0"]))
        assert text.endswith("an earlier call of it hangs")
        released.set()


def test_a_plain_hook_may_return_what_is_to_be_awaited(kubelet: ForeignKubelet, settings: Settings) -> None:
    done = threading.Event()

    class Preparing(GivenPlugin):
        def pre_start_container(self, devices: Sequence[Device]) -> Any:
            async def prepare() -> None:
                done.set()

            return prepare()

    with served(Preparing(THING), settings=settings):
        listed(kubelet).plugin.pre_start("thing0")
        assert done.is_set()


async def _odd_env(devices: Sequence[Device]) -> ContainerEdits:
    return ContainerEdits(env=("NAME",))


async def _nothing(devices: Sequence[Device]) -> Any:
    return {"THING": "1"}


async def _hooks(devices: Sequence[Device]) -> ContainerEdits:
    return ContainerEdits(additional_gids=(7,))


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Hooked(_raise), "it raised ValueError: no firmware"),
        (HookedInAThread(_raise_in_a_thread), "it raised ValueError: no firmware"),
        (Hooked(_nothing), "it returned dict, not ContainerEdits"),
        (Hooked(_hooks), "allocate() returned additional gids"),
        (Hooked(_odd_env), "allocate() returned edits that cannot be: env 'NAME' has not the form NAME=value"),
    ],
)
def test_a_hook_that_fails_fails_the_call_with_resource_ids_and_cause(
    plugin: Hooked, words: str, kubelet: ForeignKubelet, settings: Settings
) -> None:
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.allocate(["thing0", "thing1"]))
        assert code is grpc.StatusCode.INTERNAL
        assert text.startswith("example.com/thing: allocate(thing0, thing1) failed: ")
        assert words in text


def test_after_a_hook_failed_the_stream_goes_on(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = Hooked(_raise)
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        error_of(lambda: registered.plugin.allocate(["thing0"]))
        plugin.offer(OTHER)
        assert registered.stream.next() == {"thing1": "Healthy"}


def _hanging(released: threading.Event) -> Iterator[Hooked]:
    async def hang(devices: Sequence[Device]) -> ContainerEdits:
        while not released.is_set():  # a coroutine that ignores its cancellation
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.to_thread(released.wait)
        return ContainerEdits()

    def hang_in_a_thread(devices: Sequence[Device]) -> ContainerEdits:
        released.wait()
        return ContainerEdits()

    yield Hooked(hang)
    yield HookedInAThread(hang_in_a_thread)


@pytest.mark.parametrize("which", [0, 1])
def test_a_hook_that_hangs_is_abandoned_and_not_called_again_meanwhile(
    which: int, kubelet: ForeignKubelet, tmp_path: Path
) -> None:
    released = threading.Event()
    plugin = list(_hanging(released))[which]
    with served(plugin, settings=settings_for(tmp_path, hook_deadline=0.05)):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.allocate(["thing0"]))
        assert (code, text) == (
            grpc.StatusCode.INTERNAL,
            "example.com/thing: allocate(thing0) failed: it was not done after 0.05 s",
        )
        _, text = error_of(lambda: registered.plugin.allocate(["thing1"]))
        assert text.endswith("an earlier call of it hangs")
        plugin.offer(OTHER)
        assert registered.stream.next() == {"thing1": "Healthy"}  # the stream goes on all the while
        released.set()


def test_pre_start_container_is_given_the_devices(kubelet: ForeignKubelet, settings: Settings) -> None:
    got: list[list[str]] = []

    class Preparing(GivenPlugin):
        def pre_start_container(self, devices: Sequence[Device]) -> None:
            got.append([device.id for device in devices])

    with served(Preparing(THING), settings=settings):
        listed(kubelet).plugin.pre_start("thing0")
    assert got == [["thing0"]]


def test_pre_start_container_that_raises_fails_the_call(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Failing(GivenPlugin):
        async def pre_start_container(self, devices: Sequence[Device]) -> None:
            raise OSError("busy")

    with served(Failing(THING), settings=settings):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.pre_start("thing0"))
        assert (code, text) == (
            grpc.StatusCode.INTERNAL,
            "example.com/thing: pre_start_container(thing0) failed: it raised OSError: busy",
        )


def test_the_preference_of_the_base_class_is_a_good_answer() -> None:
    available = [Device(name) for name in "abcd"]
    assert GivenPlugin().preferred_allocation(available, available[2:3], 2) == [available[2], available[0]]


class Preferring(GivenPlugin):
    async def preferred_allocation(
        self, available: Sequence[Device], must_include: Sequence[Device], size: int
    ) -> Sequence[Device]:
        others = [device for device in reversed(available) if device not in must_include]
        return [*must_include, *others][:size]


def test_the_preference_is_the_plugins(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(Preferring(THING, OTHER), settings=settings):
        assert listed(kubelet).plugin.prefer(["thing0", "thing1"], [], 1) == ["thing1"]


def test_a_stale_id_never_fails_a_preference(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(Preferring(THING, OTHER), settings=settings):
        plugin = listed(kubelet).plugin
        assert plugin.prefer(["gone", "thing0", "thing1"], ["gone"], 2) == ["gone", "thing1"]


def test_a_preference_that_is_nonsense_names_what_it_must_be(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Odd(GivenPlugin):
        async def preferred_allocation(self, available: Any, must_include: Any, size: int) -> Any:
            return [ILL]

    with served(Odd(THING), settings=settings):
        registered = listed(kubelet)
        code, text = error_of(lambda: registered.plugin.prefer(["thing0"], [], 1))
        assert code is grpc.StatusCode.INTERNAL
        assert "it must choose among thing0" in text


def test_a_request_over_4_mib_is_refused(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        registered = listed(kubelet)
        code, _ = error_of(lambda: registered.plugin.allocate(["x" * 60] * 80_000))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        registered.plugin.allocate(["thing0"])


def test_garbage_in_a_message_fails_that_call_alone(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        registered = listed(kubelet)
        call: Any = registered.plugin.channel.unary_unary("/v1beta1.DevicePlugin/Allocate")
        with pytest.raises(grpc.RpcError):
            call(b"\xff\xff\xff", timeout=10)
        registered.plugin.allocate(["thing0"])
        assert v1beta1 is not None


def test_devices_of_different_nodes_at_one_place_are_not_handed_out_together(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    moved = ContainerEdits(device_nodes=(DeviceNode("/dev/thing", host_path="/dev/thing1", permissions="rw"),))
    with served(GivenPlugin(THING, Device("moved", moved)), settings=settings):
        plugin = listed(kubelet).plugin
        code, details = error_of(lambda: plugin.allocate(["thing0", "moved"]))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "/dev/thing in the container is thing0's already; ask for one of them per container" in details
        plugin.allocate(["moved"])
