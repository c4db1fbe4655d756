"""What a resource of the file leaves out: a preset's fields, and the domain of its name."""

from msgspec import structs

from kubelet_plugin.config.documents import Fault
from kubelet_plugin.config.schema import Resource
from kubelet_plugin.config.wording import listed, quoted

_NOT_GIVEN: tuple[object, ...] = (None, (), {})


class IncompleteError(Exception):
    """A resource does not say which one it is."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def completed(resource: Resource, domain: str) -> Resource:
    """Fill in a resource's preset, and the domain of its name.

    Each field that it gives goes before the preset's; `devices`, too, as a whole.

    Args:
        resource: The resource as the file has it.
        domain: The domain of a name that has none.

    Raises:
        IncompleteError: It has neither a name nor a preset, or there is no such preset.
    """
    if resource.preset is not None:
        resource = _filled_in(resource, resource.preset, domain)
    if resource.name is None:
        raise IncompleteError(Fault(("name",), "this is missing; write a name, or a `preset`"))
    return structs.replace(resource, name=resource.name if "/" in resource.name else f"{domain}/{resource.name}")


def _filled_in(resource: Resource, name: str, domain: str) -> Resource:
    from kubelet_plugin.config.presets import PRESETS, preset  # noqa: PLC0415 -- not everybody uses one

    if name not in PRESETS:
        from kubelet_plugin.config.misfits import did_you_mean  # noqa: PLC0415 -- of use only here

        known = f"there are {listed((f'`{each}`' for each in sorted(PRESETS)), 'and')}"
        message = f"there is no preset {quoted(name)}; {did_you_mean(name, [*PRESETS]) or known}"
        raise IncompleteError(Fault(("preset",), message))
    given = {field: getattr(resource, field) for field in resource.__struct_fields__}
    return structs.replace(
        preset(name, domain), **{key: value for key, value in given.items() if value not in _NOT_GIVEN}
    )
