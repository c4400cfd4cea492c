"""torch: whose memory a tensor looks at."""

from __future__ import annotations

from typing import Any

import torch

from bpgpu.backend.generic import Backend


class TorchBackend(Backend):
    asks_arrays = True

    def assign(self, x: Any, key: Any, value: Any) -> Any:
        new = x.clone()
        new[key] = value
        return new

    def device_of(self, x: Any) -> Any:
        return x.device

    def identity(self, x: Any) -> Any:
        # a tensor's hash is its identity; of an `id`, torch.compile would think that it must never change
        return x if isinstance(x, torch.Tensor) else id(x)

    def own(self, arrays: list[Any], others: list[Any]) -> list[Any]:
        if torch.compiler.is_compiling():  # the compiler keeps the books on memory itself
            return arrays
        seen = {_memory(x) for x in others}
        out = []
        for x in arrays:
            new = x
            if x is not None:
                if _memory(x) in seen or 0 in x.stride():
                    new = x.clone(memory_format=torch.contiguous_format)
                seen.add(_memory(new))
            out.append(new)
        return out


def _memory(x: Any) -> Any:
    return x.untyped_storage().data_ptr()
