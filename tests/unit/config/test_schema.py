import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kubelet_plugin.config import schema
from kubelet_plugin.config.json_schema import descriptions
from kubelet_plugin.config.json_schema import schema as json_schema
from kubelet_plugin.config.loading import load
from kubelet_plugin.errors import ConfigurationFileError
from tools.config_reference import PAGE, SCHEMA, page, schema_text

ROOT = Path(__file__).parent.parent.parent.parent
EXAMPLES = [part.partition("```")[0] for part in (ROOT / PAGE).read_text().split("```yaml\n")[1:]]
HEAD = "version: v1\nresources:\n- name: vendor.example/thing\n  "


def data(text: str) -> Any:
    """The text as an editor's YAML 1.2 reads it, near enough."""
    return yaml.safe_load(text)


def by_schema(text: str) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(data(text))


def by_loading(text: str, directory: Path) -> bool:
    (directory / "a.yaml").write_text(text)
    try:
        return bool(load([str(directory)], domain="vendor.example"))
    except ConfigurationFileError:
        return False


def test_the_committed_schema_is_that_of_the_code() -> None:
    assert (ROOT / SCHEMA).read_text() == schema_text(), "run python -m tools.config_reference"


def test_the_reference_page_is_that_of_the_code() -> None:
    written = (ROOT / PAGE).read_text()
    assert written == page(written), "run python -m tools.config_reference"


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(schema_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("part", sorted(json_schema()["$defs"]))
def test_every_field_is_described(part: str) -> None:
    properties = json_schema()["$defs"][part]["properties"]
    fields = getattr(schema, part).__struct_encode_fields__
    assert {name for name, field in properties.items() if field["description"]} == {*fields}
    assert descriptions(getattr(schema, part)).keys() == {*fields}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_reference_is_right(example: str, tmp_path: Path) -> None:
    assert by_loading(example, tmp_path)
    assert by_schema(example)


@pytest.mark.parametrize(
    "text",
    [
        "devices: [{path: /dev/a}]",
        "count: 3\n  devices: [{path: /dev/a, permissions: rwm, numa: 0, grace: 300, file_mode: 0660}]",
        "devices: [{usb: {vendor: 0403, product: 6001, serial: 0042}, nodes: [ttyUSB*], id_by: port}]",
        "devices: [{usb: {vendor: 0x0403, product: 046d}, grace: 1h30m, file_mode: '0660'}]",
        "devices: [{pci: {vendor: 8086, class: '0300'}, numa: auto}]",
        "devices: [{sysfs: {subsystem: tty, attributes: {a: 1, b: true}, parents: [{driver: usb}]}}]",
        "devices: [{id: x, group: [{path: /dev/a}, {path: /dev/b, optional: true}]}]",
        "devices: [{path: /dev/a}]\n  env: {A: 1, B: yes, C: x, D: 1.5}\n  additional_gids: auto",
        "devices: [{path: /dev/a}]\n  additional_gids: [44]\n  enabled_when: {module: [a, b], path: /a}",
        "devices: [{path: /dev/a}]\n  probe: {command: [/bin/true, 1], deadline: 500ms}",
        "devices: [{path: /dev/a}]\n  probe: open\n  mounts: [{host_path: /a, read_only: false}]",
        "devices: [{path: /dev/a, count: '4', numa: '0'}]\n  additional_gids: ['44']",
        "preset: kvm",
    ],
)
def test_what_is_right_is_right_by_schema_too(text: str, tmp_path: Path) -> None:
    assert by_loading(HEAD + text, tmp_path)
    assert by_schema(HEAD + text)


@pytest.mark.parametrize(
    "text",
    [
        "count: 1",
        "devices: [{}]",
        "devices: [{path: dev/a}]",
        "devices: [{path: /dev/a, usb: {vendor: 0403, product: 6001}}]",
        "devices: [{path: /dev/a, pth: /dev/b}]",
        "devices: [{path: /dev/a, nodes: [a]}]",
        "devices: [{path: /dev/a, id_by: port}]",
        "devices: [{usb: {vendor: 0403, product: 6001}, id_by: parent}]",
        "devices: [{sysfs: {subsystem: drm}, id_by: serial}]",
        "devices: [{sysfs: {subsystem: tty}, id: a}]",
        "devices: [{path: /dev/a, id: -a}]",
        "devices: [{path: /dev/a, permissions: rr}]",
        "devices: [{path: /dev/a, grace: 5 minutes}]",
        "devices: [{path: /dev/a, file_mode: rw-rw----}]",
        "devices: [{path: /dev/a, count: 0}]",
        "devices: [{path: /dev/a, count: '04'}]",
        "devices: [{path: /dev/a, count: many}]",
        "devices: [{path: /dev/a, numa: -1}]",
        "devices: [{usb: {vendor: 0403}}]",
        "devices: [{usb: {vendor: acme, product: 6001}}]",
        "devices: [{group: []}]",
        "devices: [{group: [{path: /dev/a, usb: {vendor: 0403, product: 6001}}]}]",
        "devices: [{group: [{path: /dev/a, id: a}]}]",
        "devices: [{path: /dev/a, probe: {}}]",
        "devices: [{path: /dev/a, probe: {command: [a], entry_point: 'a:b'}}]",
        "devices: [{path: /dev/a, probe: opne}]",
        "devices: [{path: /dev/a, enabled_when: {}}]",
        "devices: [{path: /dev/a, mounts: [{host_path: a}]}]",
        "devices: [{path: /dev/a, env: {A: [a]}}]",
        "devices: [{path: /dev/a}]\n  inject: cdi-spec",
        "devices: [{path: /dev/a}]\n  preferred: numa-node",
        "preset: kmv",
    ],
)
def test_what_is_wrong_is_wrong_by_schema_too(text: str, tmp_path: Path) -> None:
    assert not by_loading(HEAD + text, tmp_path)
    assert not by_schema(HEAD + text)


@pytest.mark.parametrize(
    "text", ["resources: []", "version: v2", "version: v1\nresource: []", "version: v1\nresources: [{}]"]
)
def test_a_wrong_file_is_wrong_by_schema_too(text: str, tmp_path: Path) -> None:
    assert not by_loading(text, tmp_path)
    assert not by_schema(text)
