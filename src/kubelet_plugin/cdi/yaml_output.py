"""A CDI spec as YAML, for people; files are written as JSON, which every reader reads faster and alike."""

from typing import Any

from kubelet_plugin.cdi.document import document
from kubelet_plugin.cdi.spec import Spec
from kubelet_plugin.cdi.yaml_scalars import is_ambiguous, resolve


def dumps_yaml(spec: Spec) -> str:
    """`document(spec)` as YAML; equal specs give equal bytes.

    Text that some reader would take for a number, a boolean, a date or nothing is quoted.
    """
    return dump_yaml(document(spec))


def dump_yaml(value: Any) -> str:
    """What JSON knows, as YAML, in the order that it has."""
    import yaml  # noqa: PLC0415  # heavy, and of no use to one who writes JSON

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # an anchor would only be in the reader's way
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        is_plain = text == resolve(text, None) and not is_ambiguous(text)
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')

    Dumper.add_representer(str, represent)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
