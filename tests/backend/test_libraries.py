"""From an array to its library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bpgpu.backend.libraries import _namespaces, library_of, namespace_of
from bpgpu.errors import BpgpuError, LibraryError


def test_an_array_gives_its_namespace(xp: Any) -> None:
    assert namespace_of(xp.ones(2)) is xp


@pytest.mark.parametrize(
    ("module", "make", "name"),
    [
        ("numpy", "ones", "numpy"),
        ("torch", "ones", "torch"),
        ("jax.numpy", "ones", "jax"),
        ("array_api_strict", "ones", "array_api_strict"),
    ],
)
def test_a_library_goes_by_the_name_that_is_imported(module: str, make: str, name: str) -> None:
    library = pytest.importorskip(module)
    assert library_of(getattr(library, make)(2)) == name


def test_scalars_of_numpy_are_arrays() -> None:
    assert library_of(np.float32(1)) == library_of(np.bool_(True)) == "numpy"


def test_subclasses_belong_to_the_library_of_their_class() -> None:
    torch = pytest.importorskip("torch")

    class Mine(np.ndarray):
        pass

    assert library_of(np.ones(2).view(Mine)) == "numpy"
    assert library_of(torch.nn.Parameter(torch.ones(2))) == "torch"


def test_tracers_of_jax_belong_to_jax() -> None:
    jax = pytest.importorskip("jax")
    seen = []
    jax.jit(lambda x: seen.append(library_of(x)) or x)(jax.numpy.ones(2))
    assert seen == ["jax"]


@pytest.mark.parametrize("module", ["numpy", "torch", "array_api_strict", "jax.numpy"])
def test_a_class_is_looked_up_once(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip(module)
    xp = namespace_of(library.ones(2))
    monkeypatch.setattr("bpgpu.backend.libraries._find", None)
    assert namespace_of(library.ones(3)) is xp


def test_torch_compile_follows_the_first_look_up_of_a_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.delitem(_namespaces, torch.Tensor, raising=False)
    f = torch.compile(lambda x: namespace_of(x).tanh(x), fullgraph=True, backend="eager")
    torch.testing.assert_close(f(torch.ones(2)), torch.tanh(torch.ones(2)))


def test_a_namespace_that_is_no_module_is_not_remembered() -> None:
    class Own:
        def __init__(self, namespace: Any) -> None:
            self.namespace = namespace

        def __array_namespace__(self, api_version: str | None = None) -> Any:
            return self.namespace

    class Namespace:
        __name__ = "own"

    first, second = Namespace(), Namespace()
    assert namespace_of(Own(first)) is first
    assert namespace_of(Own(second)) is second
    assert Own not in _namespaces


@pytest.mark.parametrize(
    ("thing", "kind"),
    [
        (1.0, "float"),
        (True, "bool"),
        (None, "NoneType"),
        ([1.0], "list"),
        ("text", "str"),
        (re.compile("a"), "re.Pattern"),
    ],
)
def test_what_is_no_array_is_refused_by_name(thing: Any, kind: str) -> None:
    message = (
        f"expected an array of NumPy, CuPy or another library of the Array API standard, got {kind}; make an array of "
        "it first, with bpgpu.device().asarray(x)"
    )
    with pytest.raises(LibraryError, match=f"^{re.escape(message)}$") as caught:
        namespace_of(thing)
    assert isinstance(caught.value, (BpgpuError, TypeError))


def test_array_api_compat_is_imported_when_the_first_array_is_met() -> None:
    script = (
        "import sys, numpy, bpgpu.backend.libraries as libraries;"
        "assert 'array_api_compat' not in sys.modules;"
        "libraries.namespace_of(numpy.ones(2));"
        "assert 'array_api_compat.numpy' in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
