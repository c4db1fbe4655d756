"""Why a name cannot be resolved."""

from collections.abc import Iterable, Iterator

from kubelet_plugin import cdi

_SHOWN = 3


def explain(registry: cdi.Registry, error: cdi.UnresolvableError) -> Iterator[str]:
    """Say of each name that could not be resolved why, and which files it may be in that are not valid."""
    errors = [each for errors in registry.errors.values() for each in errors]
    conflicts = {each.name: each for each in errors if isinstance(each, cdi.ConflictError)}
    names = dict.fromkeys(error.names)
    for name in names:
        yield f"CDI device {name!r} cannot be resolved: {conflicts.get(name) or _reason(registry, name)}"
    if not conflicts.keys() >= names.keys():
        yield from (f"not taken into account: {each}" for each in errors if not isinstance(each, cdi.ConflictError))


def _reason(registry: cdi.Registry, name: str) -> str:
    try:
        vendor, class_, device = cdi.parse_qualified_name(name)
    except cdi.Error as error:
        return str(error)
    kind = f"{vendor}/{class_}"
    files = [file for file in registry.specs() if file.spec.kind == kind]
    if not files:
        kinds = {file.spec.kind for file in registry.specs()}
        return f"no valid spec in {', '.join(registry.dirs)} is of the kind {kind}{_hint(kind, kinds)}"
    names = {each.name for file in files for each in file.spec.devices}
    paths = ", ".join(file.path for file in files)
    return f"{paths} {'has' if len(files) == 1 else 'have'} no device {device!r}{_hint(device, names)}"


def _hint(word: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415  # heavy, and of use only to one who has mistyped

    names = sorted(known)
    if close := difflib.get_close_matches(word, names, _SHOWN):
        return f"; is {' or '.join(close)} meant?"
    more = ", …" if len(names) > _SHOWN else ""
    return f"; there are {', '.join(names[:_SHOWN])}{more}" if names else ""
