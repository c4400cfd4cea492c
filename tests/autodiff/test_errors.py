"""More mistakes than tests/test_bad_input.py has: what an error says, and that no gradient is lost in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict as strict
import numpy as np
import pytest

import bpgpu as bp
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

LOST = ("its gradient would be lost", "bpgpu.stop_gradient(x)")
ENDED = ("used after its trace had ended", "has_aux=True")


class Mistake(NamedTuple):
    make: Callable[[], Any]
    error: type[Exception]
    words: tuple[str, ...]


def total(x: Any) -> Any:
    return bp.array_namespace(x).sum(x)


def vector() -> Any:
    return np.asarray([1.0, 2.0, 3.0])


def inside(f: Callable[[Any], Any], x: Any = None) -> Callable[[], Any]:
    """Use a traced array in `f` while its trace is open."""
    return lambda: bp.grad(lambda a: (f(a), total(a))[1])(vector() if x is None else x)


def through(f: Callable[[Any], Any], x: Any = None) -> Callable[[], Any]:
    """Let the gradient come back through `f`."""
    return lambda: bp.grad(lambda a: total(f(a)))(vector() if x is None else x)


def leaked() -> Any:
    kept: list[Any] = []
    bp.grad(lambda a: (kept.append(a), total(a))[1])(vector())
    return kept[0]


def torch_vector() -> Any:
    torch = pytest.importorskip("torch")
    return torch.ones(3, dtype=torch.float64)


def of(x: Any) -> Any:
    return bp.array_namespace(x)


FAR = strict.Device("device1")

MISTAKES = {
    # what is asked for
    "no function": Mistake(
        lambda: bp.grad(vector()), ArgumentError, ("grad: expected a function, got ndarray", "write grad(f)(x)")
    ),
    "no function for vjp": Mistake(
        lambda: bp.vjp(vector(), vector()), ArgumentError, ("vjp: expected a function", "write vjp(f, x)")
    ),
    "argnums as a list": Mistake(
        lambda: bp.grad(total, [0])(vector()), ArgumentError, ("grad: argnums must be", "tuple of positions", "[0]")
    ),
    "argnums as a name": Mistake(
        lambda: bp.value_and_grad(total, "x")(vector()), ArgumentError, ("value_and_grad: argnums", "got 'x'")
    ),
    "argnums as a float": Mistake(
        lambda: bp.grad(total, 1.0)(vector()), ArgumentError, ("argnums must be the position", "got 1.0")
    ),
    "argnums below the first": Mistake(
        lambda: bp.grad(total, -2)(vector()), ArgumentError, ("argnums names argument -2", "has 1 positional")
    ),
    "argnums twice": Mistake(
        lambda: bp.grad(total, (0, 0))(vector()), ArgumentError, ("argument 0 twice", "got (0, 0)", "once")
    ),
    "argnums twice, counted from behind": Mistake(
        lambda: bp.grad(total, (0, -1))(vector()), ArgumentError, ("argument 0 twice", "got (0, -1)")
    ),
    "argnums empty": Mistake(
        lambda: bp.grad(total, ())(vector()), ArgumentError, ("argnums is empty", "name at least one")
    ),
    "argnums of jacobian": Mistake(
        lambda: bp.jacobian(lambda x: x, 1)(vector()),
        ArgumentError,
        ("jacobian: argnums names argument 1", "has 1 positional"),
    ),
    "an argument by keyword": Mistake(
        lambda: bp.grad(total)(x=vector()), ArgumentError, ("argument 0", "by position, not by keyword")
    ),
    # what is differentiated
    "None": Mistake(
        lambda: bp.grad(total)(None), DtypeError, ("argument 0 ('x')", "got None", "pass an array, a float")
    ),
    "an empty tree": Mistake(
        lambda: bp.grad(lambda w: 1.0)([{}, ()]), DtypeError, ("argument 0 ('w')", "no array in it", "pass an array")
    ),
    "a tree of strings": Mistake(
        lambda: bp.grad(lambda w: 1.0)({"name": "layer"}), DtypeError, ("argument 0 ('w')", "no array in it")
    ),
    "truth values": Mistake(
        lambda: bp.grad(total)(np.asarray([True])), DtypeError, ("argument 0 ('x')", "got dtype bool", "argnums")
    ),
    "an array of objects": Mistake(
        lambda: bp.grad(total)(np.asarray([1.0, 2.0], dtype=object)), DtypeError, ("got dtype object", "Cast it")
    ),
    "an array of strings": Mistake(
        lambda: bp.grad(total)(np.asarray(["a"])), DtypeError, ("a gradient needs a floating array", "got dtype <U1")
    ),
    "an integer deep in a tree": Mistake(
        lambda: bp.grad(lambda w: 1.0)({"a": [vector(), {"b": np.arange(2)}]}),
        DtypeError,
        ("argument 0 ('w'), at 'a.1.b'", "got dtype int64"),
    ),
    "an integer for vjp": Mistake(
        lambda: bp.vjp(total, np.arange(3)), DtypeError, ("vjp: argument 0 ('x')", "got dtype int64")
    ),
    # what comes out
    "a function without return": Mistake(
        lambda: bp.grad(lambda x: None)(vector()), NotDifferentiableError, ("returned None", "return the scalar")
    ),
    "a pair without has_aux": Mistake(
        lambda: bp.grad(lambda x: (total(x), 1))(vector()), TreeError, ("one scalar, got tuple", "has_aux=True")
    ),
    "a list": Mistake(lambda: bp.grad(lambda x: [total(x)])(vector()), TreeError, ("one scalar, got list", "vjp")),
    "one entry, but not shape ()": Mistake(
        lambda: bp.grad(lambda x: x)(np.ones((1, 1))), ShapeError, ("got shape (1, 1)", "xp.sum")
    ),
    "a loss of integers": Mistake(
        lambda: bp.grad(lambda x: of(x).argmax(x))(vector()), NotDifferentiableError, ("got an array of int64",)
    ),
    "a loss of truth values": Mistake(
        lambda: bp.grad(lambda x: of(x).all(x > 0))(vector()), NotDifferentiableError, ("got an array of bool",)
    ),
    "a loss that is stopped": Mistake(
        lambda: bp.grad(lambda x: bp.stop_gradient(total(x)))(vector()), NotDifferentiableError, ("stop_gradient",)
    ),
    "a list with has_aux": Mistake(
        lambda: bp.grad(lambda x: [total(x), 1], has_aux=True)(vector()), TreeError, ("a pair", "got list")
    ),
    "a complex loss with has_aux": Mistake(
        lambda: bp.grad(lambda x: (total(x) * 1j, 1), has_aux=True)(vector()), DtypeError, ("complex128", "xp.real")
    ),
    # cotangents
    "a cotangent of another structure": Mistake(
        lambda: bp.vjp(lambda x: (x, x), vector())[1](vector()), TreeError, ("tuple", "got a ndarray")
    ),
    "a cotangent of another library": Mistake(
        lambda: bp.vjp(lambda x: x, vector())[1](torch_vector()),
        LibraryError,
        ("vjp: a cotangent is an array of torch", "its output is of numpy", "bpgpu.to_numpy(ct)"),
    ),
    "a complex cotangent of a real output": Mistake(
        lambda: bp.vjp(lambda x: x, vector())[1](vector() * 1j),
        DtypeError,
        ("a cotangent has dtype complex128", "its output is real (float64)", "xp.real(ct)"),
    ),
    "a tangent of another shape": Mistake(
        lambda: bp.jvp(lambda x: x, vector(), np.ones(4)), ShapeError, ("jvp: a tangent has shape (4,)", "(3,)")
    ),
    # arrays that do not belong together
    "another device on the right": Mistake(
        through(lambda x: x * strict.ones(3, device=FAR), strict.ones(3)),
        DeviceError,
        ("multiply", "CPU_DEVICE", "device1", "bpgpu.to_device(tree, device)"),
    ),
    "another device in a list": Mistake(
        through(lambda x: of(x).concat([x, strict.ones(3, device=FAR)]), strict.ones(3)),
        DeviceError,
        ("concat", "device1", "bpgpu.to_device"),
    ),
    "another device in a tree": Mistake(
        lambda: bp.grad(lambda w: total(w["a"]))({"a": strict.ones(3), "b": strict.ones(3, device=FAR)}),
        DeviceError,
        ("grad: the arguments are on different devices", "device1"),
    ),
    "another library in a function": Mistake(
        through(lambda x: of(x).add(x, torch_vector())), LibraryError, ("of numpy", "of torch", "bpgpu.to_numpy")
    ),
    "another library in a list": Mistake(
        through(lambda x: of(x).stack([x, torch_vector()])), LibraryError, ("of numpy", "of torch")
    ),
    "another library beside a torch tensor": Mistake(
        lambda: bp.grad(lambda x: total(x * vector()))(torch_vector()), LibraryError, ("of torch", "of numpy")
    ),
    "a function of torch": Mistake(
        lambda: bp.grad(lambda x: total(pytest.importorskip("torch").exp(x)))(torch_vector()),
        LibraryError,
        ("torch.exp was given a traced array", "bpgpu.array_namespace(x)", "bpgpu.stop_gradient(x)"),
    ),
    # arrays outside of their trace
    "a leaked array, negated": Mistake(lambda: -leaked(), TraceError, ENDED),
    "a leaked array in a function": Mistake(lambda: of(leaked()).tanh(leaked()), TraceError, ENDED),
    "a leaked array, indexed": Mistake(lambda: leaked()[0], TraceError, ENDED),
    "a leaked array, assigned to": Mistake(lambda: leaked().__setitem__(0, 1.0), TraceError, ENDED),
    "a leaked array, differentiated": Mistake(lambda: bp.grad(total)(leaked()), TraceError, ENDED),
    "a leaked array as a constant": Mistake(
        lambda: bp.grad(lambda x, y: total(x * y))(vector(), leaked()), TraceError, ENDED
    ),
    # gradients that would be lost
    "unique_values": Mistake(
        through(lambda x: of(x).unique_values(x)),
        NotDifferentiableError,
        ("a gradient reached unique_values", "which of them are equal", "Use sort"),
    ),
    "one output of unique_all": Mistake(
        through(lambda x: of(x).unique_all(x).values), NotDifferentiableError, ("unique_all", "Use sort")
    ),
    "a traced axis": Mistake(
        inside(lambda x: of(x).sum(x, axis=x)), ConversionError, ("a setting of a function", *LOST)
    ),
    "torch.from_dlpack": Mistake(
        inside(lambda x: pytest.importorskip("torch").from_dlpack(x)), ConversionError, ("DLPack", *LOST)
    ),
    "jax.numpy.asarray": Mistake(
        inside(lambda x: pytest.importorskip("jax").numpy.asarray(x)), ConversionError, LOST
    ),
    "asarray of another library": Mistake(inside(lambda x: strict.asarray(x)), ConversionError, LOST),
    "a list of traced arrays to NumPy": Mistake(inside(lambda x: np.array([x, x])), ConversionError, LOST),
    "a complex part": Mistake(inside(lambda x: complex(x[0])), ConversionError, ("a Python complex", *LOST)),
    # the array itself
    "the transpose of three axes": Mistake(
        inside(lambda x: x.T, np.ones((2, 3, 4))), ShapeError, ("x.T needs a matrix, got 3 axes", "x.mT")
    ),
    "the transpose of one axis": Mistake(inside(lambda x: x.T), ShapeError, ("x.T needs a matrix, got 1 axes",)),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_its_remedy(what: str) -> None:
    make, error, words = MISTAKES[what]
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error
    assert issubclass(error, BpgpuError)
    assert issubclass(error, (ValueError, TypeError))
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


def test_messages_are_one_line_and_name_no_object_address() -> None:
    for mistake in MISTAKES.values():
        with pytest.raises(mistake.error) as caught:
            mistake.make()
        assert "\n" not in str(caught.value)
        assert " at 0x" not in str(caught.value)


def test_what_is_allowed_on_a_traced_array() -> None:
    """Numbers that decide, not numbers that flow: these lose no gradient."""

    def f(x: Any) -> Any:
        assert bool(x[0] > 0)
        assert int(x[2]) == 3
        assert len(x) == 3
        assert [float(v) for v in bp.stop_gradient(x)] == [1.0, 2.0, 3.0]
        assert np.asarray(bp.stop_gradient(x)).tolist() == [1.0, 2.0, 3.0]
        assert f"{x[0]:.1f}" == "1.0"
        assert "1." in repr(x)
        assert copy.copy(x) is not x
        return total(copy.deepcopy(x) * x)

    np.testing.assert_array_equal(bp.grad(f)(vector()), 2 * vector())


def test_a_leaked_array_still_shows_what_it_was() -> None:
    x = leaked()
    assert x.shape == (3,)
    assert x.dtype == np.float64
    assert "1." in repr(x)
    assert np.asarray(x).tolist() == [1.0, 2.0, 3.0]


def test_an_array_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        inside(lambda x: {x})()


def test_cotangents_take_the_dtype_of_the_output() -> None:
    _, pull = bp.vjp(lambda x: x * x, np.ones(2, dtype=np.float32))
    for ct in (np.ones(2), np.ones(2, dtype=np.int64)):
        (g,) = pull(ct)
        assert g.dtype == np.float32
        np.testing.assert_array_equal(g, [2.0, 2.0])


def test_a_function_without_a_rule_raises_in_second_order_too() -> None:
    """The value of `nextafter` is used by the inner gradient; the outer one must not take it for a constant."""

    def inner(x: Any) -> Any:
        return total(of(x).nextafter(x, x + 1) * bp.stop_gradient(x))

    def outer(x: Any) -> Any:
        return total(bp.grad(lambda a: total(a * of(x).nextafter(x, x + 1)))(x))

    with pytest.raises(NotDifferentiableError, match="nextafter"):
        bp.grad(inner)(vector())
    with pytest.raises(NotDifferentiableError, match="nextafter"):
        bp.grad(outer)(vector())


def test_a_function_beyond_the_standard_is_that_of_the_library() -> None:
    """Which asks the traced array what to do, and so keeps the gradient or refuses."""
    g = bp.grad(lambda x: total(of(x).cbrt(x)))(np.asarray([1.0, 8.0]))
    np.testing.assert_allclose(g, [1 / 3, 1 / 12])
    with pytest.raises(NotDifferentiableError, match="in place; assign instead"):
        through(lambda x: (of(x).put_along_axis(x, np.asarray([0]), 5.0, 0), x)[1])()
    with pytest.raises(LibraryError, match=r"torch\.erf was given a traced array"):
        through(lambda x: of(x).erf(x), torch_vector())()


def test_a_function_that_writes_in_place_never_changes_what_a_tape_has_saved(xp) -> None:
    x = xp.asarray([1.0, 2.0, 3.0])

    def f(x: Any) -> Any:
        y = x * x
        place = getattr(of(x), "put_along_axis", None) or getattr(of(x), "fill_diagonal_", None)
        if place is not None:
            with pytest.raises(BpgpuError):
                place(x, xp.asarray([0]), 5.0, 0)
        return total(y)

    np.testing.assert_array_equal(np.asarray(bp.grad(f)(x)), [2.0, 4.0, 6.0])
    np.testing.assert_array_equal(np.asarray(x), [1.0, 2.0, 3.0])


def test_a_function_beyond_the_standard_of_a_library_that_asks_nobody() -> None:
    """It is computed on values where no gradient would be lost, and refused where one would."""
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray([1.0, 2.0])
    with pytest.raises(
        NotDifferentiableError, match="cbrt of a traced array has no derivative here"
    ):
        through(lambda x: of(x).cbrt(x), x)()
    g = bp.grad(lambda x: total(x * of(x).cbrt(bp.stop_gradient(x))))(x)
    np.testing.assert_allclose(np.asarray(g), np.cbrt([1.0, 2.0]))
