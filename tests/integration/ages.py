"""Tests that are run against kubelets of several ages."""

import pytest

with_each_age = pytest.mark.parametrize(
    (), [pytest.param(marks=pytest.mark.kubelet(profile=version), id=version) for version in ("1.20", "1.31", "1.36")]
)
