from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_of_other_tests() -> None:
    """A generator that other tests have left suspended is closed by the collector whenever it comes, and then runs once
    more: `compile` sees it run, and does not replay."""
    gc.collect()
