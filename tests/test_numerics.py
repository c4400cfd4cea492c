"""The errors of float32 that docs/numerics.md promises, held on every library on draws that the page has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import numerics
import numerics_functions  # noqa: F401 - fills the cases
import numerics_layers  # noqa: F401 - fills the cases
from test_generated_docs import script
from torch_compare import given

SEED = 1000


@pytest.fixture(scope="module")
def limits() -> dict[tuple[str, str], tuple[int, int]]:
    page = script("numerics")
    found: dict[tuple[str, str], tuple[int, int]] = page.bounds(page.TARGET.read_text())
    return found


def test_every_function_has_a_row():
    assert set(bp.functional.__all__) <= set(numerics.ENTRIES)


@pytest.mark.parametrize("name", numerics.ENTRIES)
def test_errors_are_within_their_bounds(xp: Any, limits: Any, name: str) -> None:
    for i, case in enumerate(numerics.ENTRIES[name].cases):
        found = numerics.measure(name, i, lambda a: given(xp, np.array(a)), SEED)
        promised = limits[name, case.inputs or "ordinary"]
        assert all(e <= b for e, b in zip(found, promised, strict=True)), (case.inputs, found)


@pytest.mark.parametrize(
    ("found", "exact", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0 + 2**-22], [1.0, 2.0], 1.0),
        ([0.0], [0.0], 0.0),
        ([2.0**-23], [0.0], np.inf),
        ([np.inf], [1e300], 0.0),
        ([np.nan], [1.0], np.inf),
        ([np.inf], [1.0], np.inf),
    ],
)
def test_an_error_is_counted_beside_the_largest_entry(found, exact, expected):
    error = numerics.error(np.asarray(found, np.float32), np.asarray(exact))
    assert error == expected or (expected == np.inf and error > 1e20)
