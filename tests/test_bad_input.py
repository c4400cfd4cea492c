"""Bad input to a gradient: each mistake is an error of ours that names the argument, says what came, and what to do."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict as strict
import numpy as np
import pytest

import bpgpu as bp
from bpgpu.device import device, to_device, to_numpy
from bpgpu.errors import (
    ArgumentError,
    BpgpuError,
    ConversionError,
    DeviceError,
    DtypeError,
    LibraryError,
    NotDifferentiableError,
    ShapeError,
    TraceError,
    TreeError,
)


class Mistake(NamedTuple):
    make: Callable[[], Any]
    error: type[Exception]
    words: tuple[str, ...]
    """What the message must say: the place, what came, the remedy."""


def total(x: Any) -> Any:
    return bp.array_namespace(x).sum(x)


def vector() -> Any:
    return np.ones(3)


def far() -> Any:
    """An array on another device than the first."""
    return strict.ones(3, device=strict.Device("device1"))


def torch_vector() -> Any:
    return pytest.importorskip("torch").ones(3, dtype=pytest.importorskip("torch").float64)


def leaked() -> Any:
    kept: list[Any] = []

    def keep(x: Any) -> Any:
        kept.append(x)
        return total(x)

    bp.grad(keep)(vector())
    return kept[0]


LOST = ("its gradient would be lost", "bpgpu.array_namespace(x)", "bpgpu.stop_gradient(x)")
CUT = ("the result does not depend on the differentiated arguments", "argnums")
MIXED = ("the traced array is of numpy, the other is of torch", "bpgpu.to_numpy(x)")

MISTAKES = {
    # what is differentiated
    "an integer array": Mistake(
        lambda: bp.grad(total)(np.ones(3, dtype=np.int64)),
        DtypeError,
        ("argument 0 ('x')", "got dtype int64", "xp.astype(x, xp.float32)", "argnums"),
    ),
    "an integer array in a tree": Mistake(
        lambda: bp.grad(lambda params: total(params["w"]))({"w": np.arange(3)}),
        DtypeError,
        ("argument 0 ('params'), at 'w'", "got dtype int64", "xp.astype(x, xp.float32)"),
    ),
    "a whole number": Mistake(
        lambda: bp.grad(lambda x: x * x)(3), DtypeError, ("argument 0 ('x')", "int 3", "write 3.0")
    ),
    "a string": Mistake(
        lambda: bp.grad(total)("text"), DtypeError, ("argument 0 ('x')", "str 'text'", "pass an array")
    ),
    "no array at all": Mistake(
        lambda: bp.grad(lambda params: 1.0)({}), DtypeError, ("argument 0 ('params')", "no array in it")
    ),
    "an argument that is not there": Mistake(
        lambda: bp.grad(total, argnums=3)(vector()),
        ArgumentError,
        ("argnums names argument 3", "the call has 1 positional", "pass it by position"),
    ),
    "one array at two places": Mistake(
        lambda: bp.grad(lambda pair: total(pair[0]) + total(pair[1]))([x := vector(), x]),
        TreeError,
        ("argument 0 ('pair'), at '1'", "the same array", "Pass it once, or copy it"),
    ),
    # what comes out
    "a loss that is no scalar": Mistake(
        lambda: bp.grad(lambda x: x * 2)(vector()),
        ShapeError,
        ("must return a scalar, got shape (3,)", "xp.mean", "vjp or jacobian"),
    ),
    "a complex loss": Mistake(
        lambda: bp.grad(lambda x: total(x * 1j))(vector() + 0j),
        DtypeError,
        ("must return a real scalar, got dtype complex128", "xp.real(z)"),
    ),
    "a loss that is a number": Mistake(
        lambda: bp.grad(lambda x: 3.0)(vector()), NotDifferentiableError, (*CUT, "got float")
    ),
    "a loss that is an integer": Mistake(
        lambda: bp.grad(lambda x: bp.array_namespace(x).argmax(x))(vector()), NotDifferentiableError, CUT
    ),
    "no pair with has_aux": Mistake(
        lambda: bp.value_and_grad(total, has_aux=True)(vector()),
        TreeError,
        ("must return a pair (value, aux)", "got Array"),
    ),
    "a cotangent of another shape": Mistake(
        lambda: bp.vjp(lambda x: x * 2, vector())[1](np.ones(4)),
        ShapeError,
        ("a cotangent has shape (4,)", "its output has shape (3,)"),
    ),
    # arrays that do not belong together
    "arguments of two libraries": Mistake(
        lambda: bp.grad(lambda x, y: total(x) * total(y))(vector(), torch_vector()),
        LibraryError,
        ("argument 1 ('y')", "of torch", "of numpy", "bpgpu.to_numpy(x)"),
    ),
    "a tree of two libraries": Mistake(
        lambda: bp.grad(lambda w: total(w["a"]) + total(w["b"]))({"a": vector(), "b": torch_vector()}),
        LibraryError,
        ("argument 0 ('w'), at 'b'", "of torch", "of numpy", "bpgpu.to_numpy(x)"),
    ),
    "another library in the function, on the right": Mistake(
        lambda: bp.grad(lambda x: total(x * torch_vector()))(vector()), LibraryError, MIXED
    ),
    "another library in the function, on the left": Mistake(
        lambda: bp.grad(lambda x: total(torch_vector() * x))(vector()), LibraryError, MIXED
    ),
    "two libraries for array_namespace": Mistake(
        lambda: bp.array_namespace(vector(), torch_vector()),
        LibraryError,
        ("of numpy and of torch", "convert them to one library"),
    ),
    "no array for array_namespace": Mistake(
        lambda: bp.array_namespace(1.0, None), LibraryError, ("no array was given", "at least one")
    ),
    "a list for array_namespace": Mistake(
        lambda: bp.array_namespace([1.0]), LibraryError, ("got list", "bpgpu.device().asarray(x)")
    ),
    "arguments on two devices": Mistake(
        lambda: bp.grad(lambda x, y: total(x) * total(y))(strict.ones(3), far()),
        DeviceError,
        ("CPU_DEVICE", "device1", "bpgpu.to_device(tree, device)"),
    ),
    "another device in a function of the library": Mistake(
        lambda: bp.grad(lambda x: total(bp.array_namespace(x).maximum(x, far())))(
            strict.ones(3)
        ),
        DeviceError,
        ("CPU_DEVICE", "device1", "bpgpu.to_device(tree, device)"),
    ),
    # arrays outside of their trace
    "an array that leaked, in an operator": Mistake(
        lambda: leaked() * 2, TraceError, ("after its trace had ended", "has_aux=True", "bpgpu.stop_gradient(x)")
    ),
    "an array that leaked, in another gradient": Mistake(
        lambda: bp.grad(lambda x: total(x * leaked()))(vector()),
        TraceError,
        ("after its trace had ended", "has_aux=True", "bpgpu.stop_gradient(x)"),
    ),
    # gradients that would be lost
    "a function without a derivative": Mistake(
        lambda: bp.grad(lambda x: total(bp.array_namespace(x).nextafter(x, x + 1)))(vector()),
        NotDifferentiableError,
        ("a gradient reached nextafter", "which has no derivative"),
    ),
    "float": Mistake(
        lambda: bp.grad(lambda x: total(x) * float(x[0]))(vector()), ConversionError, ("a Python float", *LOST)
    ),
    "complex": Mistake(
        lambda: bp.grad(lambda x: total(x) * complex(x[0]))(vector()),
        ConversionError,
        ("a Python complex", *LOST),
    ),
    "a function of math": Mistake(
        lambda: bp.grad(lambda x: x * math.exp(x))(2.0), ConversionError, ("a Python float", *LOST)
    ),
    "numpy.asarray": Mistake(
        lambda: bp.grad(lambda x: total(x * np.asarray(x)))(vector()), ConversionError, ("a NumPy array", *LOST)
    ),
    "from_dlpack": Mistake(
        lambda: bp.grad(lambda x: total(x * np.from_dlpack(x)))(vector()),
        ConversionError,
        ("a DLPack capsule", *LOST),
    ),
    "to_numpy": Mistake(
        lambda: bp.grad(lambda x: total(x * to_numpy({"x": x})["x"]))(vector()),
        ConversionError,
        ("a NumPy array", *LOST),
    ),
    "asarray of a device": Mistake(
        lambda: bp.grad(lambda x: total(x * device("cpu").asarray(x)))(vector()),
        ConversionError,
        ("a NumPy array", *LOST),
    ),
    "to_device": Mistake(
        lambda: bp.grad(lambda x: total(x * to_device([x], "cpu")[0]))(vector()),
        ConversionError,
        ("a NumPy array", *LOST),
    ),
    "pickle": Mistake(
        lambda: bp.grad(lambda x: total(x) * len(pickle.dumps(x)))(vector()),
        ConversionError,
        ("a traced array cannot be pickled", "bpgpu.stop_gradient(x)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_its_remedy(what: str) -> None:
    make, error, words = MISTAKES[what]
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error
    assert issubclass(error, (BpgpuError, ValueError))
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


def test_a_failed_trace_leaves_nothing_open() -> None:
    """After any of the mistakes, the next gradient is right."""
    for mistake in MISTAKES.values():
        with pytest.raises(mistake.error):
            mistake.make()
    np.testing.assert_array_equal(bp.grad(total)(vector()), np.ones(3))
