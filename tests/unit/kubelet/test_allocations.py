from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.kubelet.allocations import Allocation, Allocations

THING, OTHER = "example.com/thing", "example.com/other"


def allocation(pod: str, container: str, *ids: str, resource: str = THING, node: int = -1) -> Allocation:
    answer = v1beta1.ContainerAllocateResponse(envs={"IDS": ",".join(ids)})
    return Allocation.of(pod, container, resource, {node: ids}, answer)


def made(*each: Allocation) -> Allocations:
    allocations = Allocations()
    for allocated in each:
        allocations.insert(allocated)
    return allocations


def test_its_ids_are_those_of_all_numa_nodes() -> None:
    answer = v1beta1.ContainerAllocateResponse()
    assert Allocation.of("p", "c", THING, {0: ["a", "b"], 1: ["b"]}, answer).ids == {"a", "b"}


def test_its_answer_is_kept() -> None:
    assert allocation("p", "c", "a").response == v1beta1.ContainerAllocateResponse(envs={"IDS": "a"})


def test_what_was_inserted_is_found() -> None:
    allocated = allocation("p", "c", "a")
    assert made(allocated).get("p", "c", THING) is allocated


def test_nothing_is_found_of_others() -> None:
    allocations = made(allocation("p", "c", "a"))
    found = [allocations.get(*key) for key in (("q", "c", THING), ("p", "d", THING), ("p", "c", OTHER))]
    assert found == [None, None, None]


def test_a_later_one_takes_the_place_of_an_earlier() -> None:
    assert [each.ids for each in made(allocation("p", "c", "a"), allocation("p", "c", "b"))] == [{"b"}]


def test_a_containers_are_found_by_resource() -> None:
    things, others = allocation("p", "c", "a"), allocation("p", "c", "b", resource=OTHER)
    assert made(things, others, allocation("p", "d", "c")).of_container("p", "c") == {THING: things, OTHER: others}


def test_a_container_without_any_has_none() -> None:
    assert made().of_container("p", "c") == {}


def test_pods_are_known() -> None:
    assert made(allocation("p", "c", "a"), allocation("q", "c", "b"), allocation("q", "d", "c")).pods() == {"p", "q"}


def test_all_of_a_pods_is_forgotten() -> None:
    allocations = made(allocation("p", "c", "a"), allocation("p", "d", "b"), allocation("q", "c", "c"))
    allocations.delete(["p", "unknown"])
    assert [each.entry.pod_uid for each in allocations] == ["q"]


def test_what_is_in_use_is_known_by_resource() -> None:
    allocations = made(
        allocation("p", "c", "a"), allocation("p", "d", "a", "b"), allocation("q", "c", "x", resource=OTHER)
    )
    assert allocations.in_use() == {THING: {"a", "b"}, OTHER: {"x"}}


def test_they_are_made_again_from_a_checkpoints_entries() -> None:
    allocations = made(allocation("p", "c", "a", node=1), allocation("q", "c", "b"))
    again = Allocations(each.entry for each in allocations)
    assert [each.entry for each in again] == [each.entry for each in allocations]
