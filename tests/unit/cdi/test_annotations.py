import pytest

from kubelet_plugin import cdi
from kubelet_plugin.cdi.annotations import key_fault

DEVICES = ("vendor.com/class=a", "vendor.com/class=b")


def test_a_slash_in_a_device_id_becomes_an_underscore() -> None:
    assert cdi.annotation_key("vendor.class", "a/b/c") == "cdi.k8s.io/vendor.class_a_b_c"


@pytest.mark.parametrize(("plugin", "device_id"), [("", "d"), ("p", "")])
def test_neither_plugin_nor_device_id_may_be_empty(plugin: str, device_id: str) -> None:
    with pytest.raises(cdi.Error, match="neither may be empty"):
        cdi.annotation_key(plugin, device_id)


def test_a_key_has_63_characters_at_most_after_the_slash() -> None:
    assert len(cdi.annotation_key("p" * 30, "d" * 32)) == len("cdi.k8s.io/") + 63
    with pytest.raises(cdi.Error, match="has 64 characters after the slash: 63 at most are allowed"):
        cdi.annotation_key("p" * 30, "d" * 33)


@pytest.mark.parametrize(("plugin", "device_id"), [("-p", "d"), ("p", "d-"), ("p", "d e"), ("p", "ü"), ("p", "d\n")])
def test_a_key_is_made_of_what_kubernetes_allows(plugin: str, device_id: str) -> None:
    with pytest.raises(cdi.Error, match="must start and end after the slash with an ASCII letter or digit"):
        cdi.annotation_key(plugin, device_id)


@pytest.mark.parametrize(
    "key", ["k", "K_1.b-c", "k" * 63, "vendor.com/k", "Vendor.COM/k", f"{'v' * 253}/k", f"v/{'k' * 63}", "0/0"]
)
def test_a_key_that_kubernetes_takes_has_no_fault(key: str) -> None:
    assert key_fault(key) == ""


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("", "must start and end with"),
        ("v/", "must start and end after the slash with"),
        ("-k", "must start and end with"),
        ("k k", "must start and end with"),
        ("kü", "must start and end with"),
        ("k" * 64, "has 64 characters: 63 at most"),
        (f"v/{'k' * 64}", "has 64 characters after the slash: 63 at most"),
        ("/k", "must have a DNS subdomain"),
        ("a/b/c", "must start and end after the slash with"),
        ("vendor_com/k", "must have a DNS subdomain"),
        ("vendor..com/k", "must have a DNS subdomain"),
        ("vendor-.com/k", "must have a DNS subdomain"),
        (f"{'v' * 254}/k", "has 254 characters before the slash: 253 at most"),
    ],
)
def test_a_key_that_kubernetes_refuses_has_a_fault(key: str, fault: str) -> None:
    assert fault in key_fault(key)


def test_a_value_is_the_names_with_commas_between() -> None:
    assert cdi.annotation_value(DEVICES) == "vendor.com/class=a,vendor.com/class=b"


def test_a_value_is_made_of_qualified_names_alone() -> None:
    with pytest.raises(cdi.Error, match="'a' is not qualified"):
        cdi.annotation_value(["vendor.com/class=a", "a"])


def test_what_is_asked_for_is_found_again_among_other_annotations() -> None:
    annotations = cdi.annotate({"k": "v"}, "vendor.class", "0", DEVICES)
    assert annotations == {"k": "v", "cdi.k8s.io/vendor.class_0": "vendor.com/class=a,vendor.com/class=b"}
    assert cdi.annotated_devices(annotations) == {"cdi.k8s.io/vendor.class_0": DEVICES}


def test_a_key_that_is_in_use_is_not_taken() -> None:
    annotations = cdi.annotate({}, "vendor.class", "0", DEVICES[:1])
    with pytest.raises(cdi.Error, match=r"cdi\.k8s\.io/vendor\.class_0 is there already"):
        cdi.annotate(annotations, "vendor.class", "0", DEVICES[1:])


@pytest.mark.parametrize("value", ["", "vendor.com/class=a,", "vendor.com/class=a, vendor.com/class=b", "kvm0"])
def test_an_annotation_that_is_no_list_of_qualified_names_is_refused_with_its_key(value: str) -> None:
    with pytest.raises(cdi.Error, match=r"CDI annotation cdi\.k8s\.io/x: "):
        cdi.annotated_devices({"cdi.k8s.io/x": value})
