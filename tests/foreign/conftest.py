from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet_plugin.runtime import Settings
from tests.foreign import ForeignKubelet, foreign_kubelet
from tests.foreign.serving import settings_for


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def kubelet(settings: Settings) -> Iterator[ForeignKubelet]:
    with foreign_kubelet(settings.plugin_dir) as kubelet:
        yield kubelet
