"""Two test processes share two cores: one thread each."""

import os

import pytest

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo first: it takes longest, and one process runs it while the other does the rest."""
    items.sort(key=lambda item: item.path.stem != "test_demo")
