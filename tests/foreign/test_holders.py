"""Who holds what, read from a foreign pod-resources server."""

import contextlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from kubelet_plugin.runtime import Device, Settings
from kubelet_plugin.runtime.holders import held_devices
from tests.asynchronous import asynchronous
from tests.foreign import ForeignKubelet, messages
from tests.foreign.serving import GivenPlugin, served

v1 = messages("podresources/v1.proto")


class _Lister(grpc.GenericRpcHandler):
    def __init__(self, response: Any) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(
            lambda request, context: response,
            request_deserializer=v1.ListPodResourcesRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method == "/v1.PodResourcesLister/List" else None


@contextlib.contextmanager
def pod_resources(path: str, *holdings: tuple[str, str]) -> Iterator[None]:
    containers = [
        v1.ContainerResources(name="c", devices=[v1.ContainerDevices(resource_name=resource, device_ids=[device_id])])
        for resource, device_id in holdings
    ]
    response = v1.ListPodResourcesResponse(
        pod_resources=[v1.PodResources(name="p", namespace="default", containers=containers)]
    )
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((_Lister(response),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@asynchronous
async def test_the_ids_of_one_resource_are_read(tmp_path: Path) -> None:
    socket = str(tmp_path / "kubelet.sock")
    with pod_resources(socket, ("example.com/thing", "a"), ("example.com/thing", "b"), ("example.com/other", "c")):
        assert await held_devices(socket, "example.com/thing") == frozenset({"a", "b"})


@asynchronous
async def test_an_answer_beyond_4_mib_is_read_too(tmp_path: Path) -> None:
    socket = str(tmp_path / "kubelet.sock")
    with pod_resources(socket, *(("example.com/thing", f"{n:0100}") for n in range(40_000))):
        held = await held_devices(socket, "example.com/thing")
        assert held is not None
        assert len(held) == 40_000


@asynchronous
async def test_without_the_socket_nothing_is_known(tmp_path: Path) -> None:
    assert await held_devices(str(tmp_path / "kubelet.sock"), "example.com/thing") is None


def test_a_lost_device_that_a_pod_holds_outlives_its_grace(kubelet: ForeignKubelet, settings: Settings) -> None:
    held, free = Device("held"), Device("free")
    plugin = GivenPlugin(held, free, grace=0.1)
    with pod_resources(settings.pod_resources, ("example.com/thing", "held")), served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer()
        assert stream.next() == {"held": "Unhealthy", "free": "Unhealthy"}
        assert stream.next() == {"held": "Unhealthy"}
        assert stream.lists.empty()
