"""NumPy: adding at repeated positions, and who owns an array's memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpgpu.backend.generic import Backend, repeats


class NumpyBackend(Backend):
    one_device = True

    def one(self, x: Any) -> Any:
        return x.dtype.type(1)

    def assign(self, x: Any, key: Any, value: Any) -> Any:
        new = np.array(x)
        new[key] = value
        return new

    def scatter_add(self, shape: tuple[int, ...], key: Any, g: Any) -> Any:
        zeros = np.zeros(shape, dtype=g.dtype)
        if repeats(key):
            np.add.at(zeros, key, g)
        else:
            zeros[key] = g
        return zeros

    def device_of(self, x: Any) -> Any:
        return "cpu"

    def own(self, arrays: list[Any], others: list[Any]) -> list[Any]:
        seen = {id(_owner(x)) for x in others}
        out = []
        for x in arrays:
            if type(x) is np.ndarray:
                owner = id(_owner(x))
                if owner in seen or not x.flags.writeable:
                    x = x.copy()
                    owner = id(x)
                seen.add(owner)
            out.append(x)
        return out


def _owner(x: Any) -> Any:
    """The array whose memory `x` looks at: itself unless it is a view."""
    base = getattr(x, "base", None)
    return x if base is None else base
