"""Names of devices and kinds; a rule of SPEC.md is named by its section."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin import cdi

repeatable = settings(derandomize=True, deadline=None)

qualifiers = st.from_regex(re.compile(r"[A-Za-z]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?", re.ASCII), fullmatch=True)
device_names = st.from_regex(re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]{0,20}[A-Za-z0-9])?", re.ASCII), fullmatch=True)
resource_names = st.from_regex(
    r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?", fullmatch=True
)


@repeatable
@given(qualifiers, qualifiers, device_names)
def test_a_qualified_name_is_parsed_into_what_it_was_made_of(vendor: str, class_: str, name: str) -> None:
    """SPEC.md "Kind": a prefix and a name; "CDI Devices": which device of it."""
    assert cdi.parse_qualified_name(cdi.qualified_name(vendor, class_, name)) == (vendor, class_, name)


@repeatable
@given(st.text(st.sampled_from("aZ0._-:/=é\n"), max_size=12))
def test_any_text_is_refused_or_parsed_into_the_parts_that_make_it_again(text: str) -> None:
    try:
        parts = cdi.parse_qualified_name(text)
    except cdi.Error:
        return
    assert cdi.qualified_name(*parts) == text


@pytest.mark.parametrize(
    ("vendor", "class_", "name"), [("", "class", "dev"), ("vendor", "1class", "dev"), ("vendor", "class", "dev-")]
)
def test_a_qualified_name_is_not_made_of_an_invalid_part(vendor: str, class_: str, name: str) -> None:
    """SPEC.md "Kind" and "CDI Devices"."""
    with pytest.raises(cdi.Error):
        cdi.qualified_name(vendor, class_, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kvm0", "CDI device 'kvm0' is not qualified: a name has the form vendor/class=name"),
        (
            "1v.com/kvm=kvm0",
            "CDI device '1v.com/kvm=kvm0': vendor '1v.com' starts with '1': it must start with an ASCII letter",
        ),
        (
            "v.com/k m=kvm0",
            (
                "CDI device 'v.com/k m=kvm0': class 'k m' holds ' ' at position 2: "
                "only ASCII letters, digits, -, _ and . are allowed"
            ),
        ),
        (
            "v.com/kvm=kvm-",
            "CDI device 'v.com/kvm=kvm-': device name 'kvm-' ends with '-': it must end with an ASCII letter or digit",
        ),
        (
            "v.com/kvm=:0",
            "CDI device 'v.com/kvm=:0': device name ':0' starts with ':': it must start with an ASCII letter or digit",
        ),
        (
            "v.com/kvm=k\u0661m",
            (
                "CDI device 'v.com/kvm=k\u0661m': device name 'k\u0661m' holds '\u0661' at position 2: "
                "only ASCII letters, digits, -, _, . and : are allowed"
            ),
        ),
    ],
)
def test_a_refusal_names_the_part_the_character_and_the_rule(text: str, message: str) -> None:
    """SPEC.md "Kind" and "CDI Devices": the characters, and how names begin and end."""
    with pytest.raises(cdi.Error) as raised:
        cdi.parse_qualified_name(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("validate", "message"),
    [
        (cdi.validate_vendor, "vendor is empty"),
        (cdi.validate_class, "class is empty"),
        (cdi.validate_device_name, "device name is empty"),
    ],
)
def test_an_empty_part_is_called_empty(validate: object, message: str) -> None:
    """SPEC.md "Kind" and "CDI Devices": no part may be left out."""
    assert callable(validate)
    with pytest.raises(cdi.Error, match=message):
        validate("")


@pytest.mark.parametrize(
    ("resource_name", "kind"),
    [
        ("github.com.ihcsim/kvm", "github.com.ihcsim/kvm"),
        ("vendor.com/GPU_x.y-1", "vendor.com/GPU_x.y-1"),
        ("1abc.com/kvm", "dev-1abc.com/kvm"),
        ("vendor.com/4k", "vendor.com/dev-4k"),
        ("vendor.com/x", "vendor.com/dev-x"),
        ("v/kvm", "dev-v/kvm"),
        ("1/2", "dev-1/dev-2"),
        ("aa/bb", "aa/bb"),
        (f"{'v' * 253}/{'c' * 63}", f"{'v' * 253}/{'c' * 63}"),
        (f"vendor.com/1{'c' * 58}", f"vendor.com/dev-1{'c' * 58}"),
    ],
)
def test_the_kind_of_a_resource_is_its_name_with_dev_before_a_part_that_is_not_legal(
    resource_name: str, kind: str
) -> None:
    assert cdi.kind_of(resource_name) == kind


@pytest.mark.parametrize(
    ("resource_name", "reason"),
    [
        ("kvm", "form domain/name"),
        ("", "form domain/name"),
        ("/kvm", "form domain/name"),
        ("vendor.com/", "form domain/name"),
        ("vendor.com/a/b", "'/' at position"),
        ("vendor.com/kvm-", "ends with '-'"),
        ("vendor.com/k\xfcm", "'\xfc' at position"),
        (f"vendor.com/{'c' * 64}", "64 characters: 63 at most"),
        (f"vendor.com/1{'c' * 59}", "64 characters: 63 at most"),
        (f"{'v' * 254}/kvm", "254 characters: 253 at most"),
    ],
)
def test_a_resource_name_that_holds_no_kind_is_refused_with_the_reason(resource_name: str, reason: str) -> None:
    """SPEC.md "Kind": two segments, of 253 and 63 characters at most."""
    with pytest.raises(cdi.Error, match=re.escape(reason)) as raised:
        cdi.kind_of(resource_name)
    assert repr(resource_name) in str(raised.value)


@repeatable
@given(resource_names)
def test_every_resource_name_that_kubernetes_allows_has_a_kind_that_is_its_own_kind(resource_name: str) -> None:
    kind = cdi.kind_of(resource_name)
    vendor, class_, _ = cdi.parse_qualified_name(f"{kind}=dev")
    assert min(len(vendor), len(class_)) > 1
    assert cdi.kind_of(kind) == kind
