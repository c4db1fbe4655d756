"""Configuration files in tests."""

from kubelet_plugin.config.documents import parse
from kubelet_plugin.config.reading import examine
from kubelet_plugin.config.schema import Configuration
from kubelet_plugin.errors import ConfigurationFileError


def read(text: str, name: str) -> Configuration:
    """What a file says, its form alone being looked at."""
    found = examine(parse(text, name))
    if found.problems:
        raise ConfigurationFileError(found.problems)
    return Configuration(version="v1", domain=found.domain, resources=tuple(found.resources.values()))
