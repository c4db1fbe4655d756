import asyncio

import pytest

from kubelet_plugin.errors import ConfigurationError, RpcError
from kubelet_plugin.kubelet.faults import Faults
from tests.asynchronous import asynchronous

THING = "example.com/thing"


async def meet(faults: Faults, resource: str = THING, method: str = "Allocate") -> None:
    await faults.meet(resource, method, asyncio.Event())


@asynchronous
async def test_without_a_fault_nothing_happens() -> None:
    await meet(Faults())


@asynchronous
async def test_a_call_fails_with_the_status_it_is_given() -> None:
    faults = Faults()
    faults.fail(THING, "Allocate", "no", code="UNAVAILABLE")
    with pytest.raises(RpcError) as failure:
        await meet(faults)
    assert (failure.value.code, failure.value.message) == ("UNAVAILABLE", "no")


@asynchronous
async def test_a_fault_is_met_once() -> None:
    faults = Faults()
    faults.fail(THING, "Allocate", "no")
    with pytest.raises(RpcError):
        await meet(faults)
    await meet(faults)


@asynchronous
async def test_a_fault_can_be_met_several_times() -> None:
    faults = Faults()
    faults.fail(THING, "Allocate", "no", times=2)
    for _ in range(2):
        with pytest.raises(RpcError):
            await meet(faults)
    await meet(faults)


@asynchronous
async def test_faults_are_met_in_their_order() -> None:
    faults = Faults()
    faults.fail(THING, "Allocate", "first")
    faults.fail(THING, "Allocate", "second")
    for text in ("first", "second"):
        with pytest.raises(RpcError, match=text):
            await meet(faults)


@asynchronous
@pytest.mark.parametrize(("resource", "method"), [("example.com/other", "Allocate"), (THING, "PreStartContainer")])
async def test_a_fault_is_of_one_resource_and_method(resource: str, method: str) -> None:
    faults = Faults()
    faults.fail(THING, "Allocate", "no")
    await meet(faults, resource, method)


@asynchronous
async def test_a_call_hangs_until_it_is_released() -> None:
    faults = Faults()
    release = faults.hang(THING, "Allocate")
    call = asyncio.ensure_future(meet(faults))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not call.done()
    release.set()
    await call


@asynchronous
async def test_a_call_does_not_hang_for_longer_than_its_connection() -> None:
    faults, gone = Faults(), asyncio.Event()
    faults.hang(THING, "Allocate")
    call = asyncio.ensure_future(faults.meet(THING, "Allocate", gone))
    await asyncio.sleep(0)
    gone.set()
    await call


@asynchronous
async def test_a_call_that_hangs_can_be_cancelled() -> None:
    faults = Faults()
    faults.hang(THING, "Allocate")
    call = asyncio.ensure_future(meet(faults))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("method", ["allocate", "Register", ""])
def test_a_call_that_plugins_do_not_have_is_refused(method: str) -> None:
    with pytest.raises(ConfigurationError, match=f"plugins have no call '{method}': give one of Allocate, "):
        Faults().fail(THING, method, "no")
    with pytest.raises(ConfigurationError, match="plugins have no call"):
        Faults().hang(THING, method)
