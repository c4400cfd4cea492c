"""`precision`: how matrix products round float32 numbers."""

from __future__ import annotations

from types import TracebackType
from typing import overload

from bpgpu.backend.precision import FORMATS, setting
from bpgpu.errors import ArgumentError


class Precision:
    """A setting of this thread, from now on; as a context manager, until the end of the block."""

    def __init__(self, name: str) -> None:
        if name not in tuple(FORMATS):
            raise ArgumentError(
                f"precision: expected one of {', '.join(map(repr, FORMATS))}, got {name!r}"
            )
        self.name = name
        self._before = setting.get()
        setting.set(name)

    def __enter__(self) -> Precision:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        setting.set(self._before)

    def __repr__(self) -> str:
        return f"precision({self.name!r})"


@overload
def precision() -> str: ...
@overload
def precision(name: str) -> Precision: ...
def precision(name: str | None = None) -> str | Precision:
    """Set how matrix products round float32 numbers, or ask for it without a name.

    - `"fp32"`: not at all; the default.
    - `"tf32"`: operands keep 10 bits behind the leading one, and the range of float32.
    - `"bf16"`: 7 bits, and the range of float32.
    - `"fp16"`: 10 bits, and the range of float16: nothing above 65504, and what is below 6e-8 becomes 0.

    The operands of a product are rounded, to the nearest number of the format and to the even one of two; the products
    are summed in float32, and the result is float32. That is what tensor cores do, and it holds for every function:
    `@`, `matmul` and `tensordot` on traced arrays, linear and bilinear maps, convolutions, attention, recurrent layers,
    and the products on their way back, whose gradients are rounded in the same way. All else (norms, softmax, losses,
    sums, optimizers) is computed in float32; parameters stay float32, so that small updates are not lost (P.
    Micikevicius et al., 2018, "Mixed precision training").

    On CUDA the format is chosen for the library that multiplies; elsewhere the numbers are rounded before an ordinary
    product, so that a laptop shows what a GPU will compute; it is slower then, not faster. float64 and float16 arrays
    are not touched, nor are products outside of traces that bpgpu does not see: `x @ w` of NumPy's own arrays.

    *Returns* the name of the setting; or, given a name, an object for `with`, which puts back what was set before. The
    setting belongs to the thread and the context, as `contextvars` have it.

    *Raises* `ArgumentError` for another name.

    >>> import numpy as np, bpgpu as bp
    >>> x = np.asarray([[1 + 2**-9]], dtype=np.float32)
    >>> with bp.precision("bf16"):
    ...     bp.functional.linear(x, x)
    array([[1.]], dtype=float32)
    >>> bp.precision()
    'fp32'
    """
    return setting.get() if name is None else Precision(name)
