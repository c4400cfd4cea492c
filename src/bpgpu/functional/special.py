"""Special functions that the standard lacks."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import Array
from bpgpu.autodiff.rule import elementwise
from bpgpu.backend.erf import erf as plain_erf
from bpgpu.functional import arguments


@elementwise
def erf_rule(xp: Any, x: Any) -> Any:
    y = erf_rule(x) if type(x) is Array else plain_erf(xp, x)
    return y, lambda g: g * (2 / math.sqrt(math.pi) * xp.exp(-(x * x)))


def erf(input: Any) -> Any:
    """The error function, `2/sqrt(pi)` times the integral of `exp(-t^2)` from 0 to the input; as
    `torch.special.erf`.

    `erf'(x) = 2/sqrt(pi) exp(-x^2)`

    *Shape* any; the result has the same.

    *Raises* `DtypeError` unless the input is of real floating numbers.

    *Notes* At most 2 units in the last place from the exact value, in float32 and float64 and on
    every device.

    >>> import numpy as np
    >>> erf(np.asarray([0.0, 0.5, 1.0]))
    array([0.        , 0.52049988, 0.84270079])
    """
    arguments.real("erf", input=input)
    return erf_rule(input)
