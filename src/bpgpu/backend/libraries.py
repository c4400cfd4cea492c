"""From an array to the library that it comes from.

The answer depends on nothing but the class of the array, so it is found once for each class and then read from a
dictionary: this stands on the path of every operation. `array_api_compat` is imported when the first class is met.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from bpgpu.errors import LibraryError

_namespaces: dict[type, Any] = {}


def namespace_of(x: Any) -> Any:
    """The namespace of the standard for the library of `x`: `array_api_compat.numpy`, `jax.numpy`, and so on.

    NumPy's scalars (`np.float32(1)`) count as arrays; Python's numbers do not.

    *Raises* `LibraryError` if `x` is no array.

    >>> import numpy as np
    >>> namespace_of(np.ones(3)).__name__
    'array_api_compat.numpy'
    """
    try:
        return _namespaces[type(x)]
    except KeyError:
        return _find(x)


def library_of(x: Any) -> str:
    """The name of the library of an array, as one imports it.

    >>> import numpy as np
    >>> library_of(np.ones(3))
    'numpy'
    """
    name: str = namespace_of(x).__name__
    return name.removeprefix("array_api_compat.").partition(".")[0]


def _find(x: Any) -> Any:
    cls = type(x)
    xp = _wrapped(cls)
    if xp is None:
        xp = _announced(x)
    if isinstance(xp, ModuleType):  # other namespaces may differ from array to array of one class
        _namespaces[cls] = xp
    return xp


def _wrapped(cls: type) -> Any:
    """The namespace of a class that `array_api_compat` wraps, told by name: compilers can follow this, too."""
    for base in cls.__mro__:
        name = f"{base.__module__}.{base.__name__}"
        if name == "torch.Tensor":
            import array_api_compat.torch

            return array_api_compat.torch
        if name == "cupy.ndarray":
            from bpgpu.backend import cupy_arrays

            return cupy_arrays.namespace()
        if name in ("numpy.ndarray", "numpy.generic"):
            import array_api_compat.numpy

            return array_api_compat.numpy
    return None


def _announced(x: Any) -> Any:
    """The namespace of an array of any other library, which its class announces."""
    import array_api_compat

    try:
        xp = array_api_compat.array_namespace(x)
    except TypeError as error:
        raise LibraryError(
            "expected an array of NumPy, CuPy or another library of the Array API standard, got "
            f"{_name(type(x))}; make an array of it first, with bpgpu.device().asarray(x)"
        ) from error
    if xp.__name__ == "ndonnx":
        from bpgpu.backend.ndonnx import completed

        return completed(xp)
    return xp


def _name(cls: type) -> str:
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"
