"""Data that are not finite are found before they are trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpgpu.data import check_finite, checks
from bpgpu.errors import NonFiniteError


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("block", [1, 4, 1 << 22])
def test_the_array_and_its_first_row_are_named(
    xp: Any, value: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "BLOCK", block)
    x = np.zeros((9, 2, 2))
    x[4, 1, 0] = x[4, 0, 0] = x[7, 0, 1] = value
    text = "data: y holds NaN or infinity in 2 of 9 rows, the first is row 4"
    with pytest.raises(NonFiniteError, match=text):
        check_finite((xp.zeros(9), xp.asarray(x)))


def test_what_is_finite_passes(xp: Any) -> None:
    x = xp.full((3, 2), 3e38, dtype=xp.float32)  # the sum would not be finite
    check_finite({"x": x, "n": xp.asarray([1, 2, 3]), "empty": xp.zeros((0, 4)), "name": "a"})
    check_finite(xp.asarray(1.0))
    check_finite(xp.asarray([1 + 2j]))


def test_a_single_number_and_the_name_of_the_data() -> None:
    with pytest.raises(NonFiniteError, match=r"validation: data holds .* in 1 of 1 rows"):
        check_finite(np.asarray(np.nan), "validation")
