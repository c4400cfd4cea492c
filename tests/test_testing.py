"""The recording namespace: what tests of an array library see, with a tape running."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.autodiff.array import Array, is_live
from bpgpu.errors import LibraryError, NotDifferentiableError
from bpgpu.testing import CREATION, MEMORY, recording_namespace


@pytest.fixture
def ns(xp: Any) -> Any:
    return recording_namespace(xp)


def made(ns: Any) -> dict[str, Any]:
    """A floating array by every way of making one."""
    x = ns.asarray([[1.0, 2.0], [3.0, 4.0]])
    return {
        "arange": ns.arange(3.0),
        "asarray": x,
        "asarray of numbers": ns.asarray(1.5),
        "astype": ns.astype(ns.asarray([1, 2]), ns.float64),
        "empty": ns.empty((2,)),
        "empty_like": ns.empty_like(x),
        "eye": ns.eye(2),
        "from_dlpack": ns.from_dlpack(x),
        "full": ns.full((2,), 1.5),
        "full_like": ns.full_like(x, 2.0),
        "linspace": ns.linspace(0, 1, 3),
        "meshgrid": ns.meshgrid(ns.asarray([1.0, 2.0]), ns.asarray([3.0]))[1],
        "ones": ns.ones((2,)),
        "ones_like": ns.ones_like(x),
        "tril": ns.tril(x),
        "triu": ns.triu(x),
        "zeros": ns.zeros((2,)),
        "zeros_like": ns.zeros_like(x),
        "complex": ns.asarray([1j]),
        "fft.fftfreq": ns.fft.fftfreq(4),
        "fft.rfftfreq": ns.fft.rfftfreq(4),
    }


def test_every_new_floating_array_is_on_a_live_tape(ns):
    arrays = made(ns)
    assert CREATION - set(arrays) == set()
    for name, x in arrays.items():
        assert type(x) is Array, name
        assert is_live(x), name


def test_what_is_computed_from_them_is_recorded(ns):
    x = ns.linspace(0.0, 1.0, 5)
    for y in (ns.tanh(x), x * 2, 1 - x, x @ x, x[1:], ns.sum(x), ns.fft.fft(x + 0j), ns.sort(x)):
        assert is_live(y)
    values, vectors = ns.linalg.eigh(ns.eye(3))
    assert is_live(values)
    assert is_live(vectors)


def test_integers_and_truth_values_are_constants(ns):
    for x in (ns.arange(3), ns.asarray([True]), ns.zeros((2,), dtype=ns.int64), ns.ones(2) > 0):
        assert not is_live(x)


def test_conversions_are_let_through(ns):
    x = ns.asarray(1.5)
    assert float(x) == 1.5
    assert complex(x) == 1.5
    np.testing.assert_array_equal(np.asarray(ns.asarray([1.0, 2.0])), [1.0, 2.0])


def test_values_are_those_of_the_library(ns, xp):
    x = xp.linspace(0.1, 1.0, 4)
    y = ns.linspace(0.1, 1.0, 4)
    assert np.asarray(ns.exp(y) @ y) == np.asarray(xp.exp(x) @ x)
    assert y.dtype == x.dtype


def test_asarray_without_a_copy_returns_the_same_handle(ns):
    x = ns.asarray([1.0, 2.0])
    assert ns.asarray(x, copy=False) is x
    assert ns.asarray(x) is x
    y = ns.asarray(x, copy=True)
    y[0] = 5.0
    assert float(x[0]) == 1.0


def test_arrays_know_their_namespace(ns):
    x = ns.zeros(3)
    assert x.__array_namespace__() is ns
    assert (x + 1).__array_namespace__() is ns
    assert bp.array_namespace(x) is ns
    assert "recording" in repr(ns)
    assert "recording" in ns.__name__


def test_functions_keep_their_signatures():
    import array_api_strict as xp

    ns = recording_namespace(xp)
    for name in ("arange", "asarray", "zeros", "tanh", "sum"):
        assert inspect.signature(getattr(ns, name)) == inspect.signature(getattr(xp, name))
    assert ns.__array_api_version__ == xp.__array_api_version__


def test_the_tape_does_not_grow_without_bound(ns):
    x = ns.ones(4)
    tape = x.tape
    for _ in range(3 * MEMORY):
        x = x + 1
    assert len(tape.nodes) <= MEMORY
    assert is_live(x)


def test_what_the_tape_forgets_is_freed():
    import weakref

    ns = recording_namespace(np)
    plain = np.ones(4)
    x = ns.asarray(plain) * ns.asarray([2.0, 2.0, 2.0, 2.0])
    saved = weakref.ref(plain)
    del plain
    for _ in range(MEMORY + 1):
        x = x + 1
    gc.collect()
    assert saved() is None


def test_it_changes_nothing_for_gradients_elsewhere():
    """No tape is left open for others: a gradient is a plain array, not one nested in the recording."""
    ns = recording_namespace(np)
    x = ns.ones(3)
    g = bp.grad(lambda a: bp.array_namespace(a).sum(a**2))(np.ones(3))
    assert type(g) is np.ndarray
    assert is_live(x)
    out, pull = bp.vjp(lambda a: a * 2, np.ones(3))
    assert type(out) is np.ndarray
    assert type(pull(np.ones(3))[0]) is np.ndarray


def test_a_gradient_takes_recorded_arrays_by_their_values(ns, xp):
    x = ns.asarray([1.0, 2.0, 3.0])
    value, g = bp.value_and_grad(lambda a: ns.sum(a**3))(x)
    assert type(g) is type(xp.asarray(1.0))
    np.testing.assert_allclose(np.asarray(g), [3.0, 12.0, 27.0])
    assert float(value) == 36.0


def test_the_library_itself_will_do():
    assert type(recording_namespace(np).zeros(2).value) is np.ndarray
    import array_api_compat.numpy as compat

    assert recording_namespace(np).xp is compat


def test_no_array_library_is_an_error_in_words():
    with pytest.raises(LibraryError, match="recording_namespace: expected an array library"):
        recording_namespace(inspect)
    with pytest.raises(LibraryError, match="pass the module itself"):
        recording_namespace("numpy")


def test_a_function_without_a_derivative_still_gives_values(ns):
    x = ns.asarray([1.0, 2.0])
    assert is_live(ns.nextafter(x, x + 1))
    with pytest.raises(NotDifferentiableError, match="nextafter"):
        bp.grad(lambda a: ns.sum(ns.nextafter(a, a + 1)))(x)


def test_it_is_a_module_under_test_by_one_environment_variable():
    """What the suite does with ARRAY_API_TESTS_MODULE, in its words."""
    module = "exec('import numpy, bpgpu.testing; xp = bpgpu.testing.recording_namespace(numpy)')"
    assert module.startswith("exec('")
    assert module.endswith("')")
    space: dict[str, Any] = {}
    exec(module[6:][:-2], space)
    xp = space["xp"]
    assert xp.__name__
    assert hasattr(xp, "bool")
    assert xp.__array_api_version__ >= "2024.12"


def test_it_needs_no_import_of_another_library():
    code = (
        "import sys, numpy, bpgpu as bp; bp.testing.recording_namespace(numpy).ones(2);"
        "print([m for m in ('torch', 'jax', 'scipy', 'cupy', 'pytest') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
