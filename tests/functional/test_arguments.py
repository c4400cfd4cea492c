"""What is said about arguments that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import DtypeError, ShapeError
from bpgpu.functional import arguments
from gradients import looked_at
from torch_compare import given


@pytest.mark.parametrize("value", [True, 1.5, "same", (1, 2, 3), (1, 2.0), None, []])
def test_what_is_neither_an_integer_nor_a_tuple_of_integers_is_refused(value: Any) -> None:
    with pytest.raises(ShapeError, match="conv: expected stride as an integer or a tuple of 2"):
        arguments.tupled("conv", "stride", value, 2)


def test_integers_are_repeated_and_sequences_taken_as_they_are() -> None:
    assert arguments.tupled("conv", "stride", 3, 2) == (3, 3)
    assert arguments.tupled("conv", "stride", [3], 2) == (3, 3)
    assert arguments.tupled("conv", "stride", np.asarray([3, 4]), 2) == (3, 4)
    with pytest.raises(ShapeError, match="conv: expected stride of at least 1, got 0"):
        arguments.tupled("conv", "stride", 0, 1, least=1)


def test_axes_count_from_either_end_and_an_array_without_axes_has_one() -> None:
    assert [arguments.axis_of("f", d, 3) for d in (0, 2, -1, -3)] == [0, 2, 2, 0]
    assert [arguments.axis_of("f", d, 0) for d in (0, -1)] == [0, 0]
    with pytest.raises(ShapeError, match=r"f: expected dim in \[-2, 1\] for an input of 2 axes"):
        arguments.axis_of("f", 2, 2)
    with pytest.raises(ShapeError, match="f: expected dim as an integer"):
        arguments.axis_of("f", 1.0, 2)  # type: ignore[arg-type]


def test_dtypes_are_found_by_name_and_by_the_object_of_any_library(xp: Any) -> None:
    for dtype in ("float32", np.float32, np.dtype("float32"), xp.float32):
        assert arguments.named_dtype("f", xp, dtype) == xp.float32
    with pytest.raises(DtypeError, match="f: expected dtype as a name"):
        arguments.named_dtype("f", xp, "asarray")


def test_kinds_of_dtypes_are_told_apart(xp: Any) -> None:
    ints, reals, mask, waves = (
        given(xp, np.ones(2, dtype)) for dtype in ("int32", "float32", "bool", "complex64")
    )
    arguments.floating("f", input=reals, weight=waves, bias=None)
    arguments.integers("f", input=ints)
    with pytest.raises(DtypeError, match="f: expected a floating array as weight, got dtype"):
        arguments.floating("f", input=reals, weight=ints)
    with pytest.raises(DtypeError, match="f: expected real numbers as input"):
        arguments.real("f", input=waves)
    for x in (reals, mask):
        with pytest.raises(DtypeError, match="f: expected integers as input"):
            arguments.integers("f", input=x)
    with pytest.raises(DtypeError, match="f: expected an array as input, got list"):
        arguments.floating("f", input=[1.0])


def test_integers_out_of_range_are_named(xp: Any) -> None:
    looked_at(xp)
    assert arguments.in_range("f", "input", given(xp, np.asarray([0, 3])), 4)
    assert arguments.in_range("f", "input", given(xp, np.zeros((2, 0), "int64")), 0)
    with pytest.raises(ValueError, match=r"f: expected input in \[0, 4\), got 4"):
        arguments.in_range("f", "input", given(xp, np.asarray([0, 4])), 4)
    with pytest.raises(ValueError, match=r"f: expected input in \[0, 4\), got -1"):
        arguments.in_range("f", "input", given(xp, np.asarray([[-1], [3]])), 4)


def test_integers_under_a_compiler_are_not_looked_at() -> None:
    import jax
    import jax.numpy as jnp

    looked = []

    def f(x: Any) -> Any:
        looked.append(arguments.in_range("f", "input", x, 2))
        return x

    jax.jit(f)(jnp.asarray([5]))
    assert looked == [False]


def test_labels_that_are_constants_of_a_compiled_function_are_not_looked_at() -> None:
    """JAX gives tracers for whatever is computed while it compiles, of known arrays too."""
    import jax
    import jax.numpy as jnp

    label = jnp.asarray([1, 0])
    looked = []

    def f(x: Any) -> Any:
        looked.append(arguments.in_range("f", "input", label, 2))
        return bp.functional.cross_entropy(x, label)

    assert np.isfinite(jax.jit(f)(jnp.ones((2, 2))))
    assert looked == [False]
    assert arguments.in_range("f", "input", label, 2)


def test_what_a_function_refuses_is_told_with_the_layer() -> None:
    """Labels out of range, unknown modes and the like, and not shapes only."""

    class Net(bp.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = bp.nn.Embedding(3, 2)
            self.losses = bp.nn.ModuleList([bp.nn.CrossEntropyLoss()])

        def forward(self, x: Any, y: Any) -> Any:
            return self.losses[0](self.embed(x), y)

    net = Net()
    with pytest.raises(
        ValueError, match=r"Embedding 'embed': embedding: expected input in \[0, 3\), got 3"
    ):
        net(np.asarray([3]), np.asarray([0]))
    with pytest.raises(
        ValueError, match=r"CrossEntropyLoss 'losses.0': cross_entropy: expected target in"
    ):
        net(np.asarray([2]), np.asarray([5]))
