"""Devices: which one is chosen and why, what it does, and how arrays get there and back."""

from __future__ import annotations

import logging
import pickle
import re
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fake_cupy
from bpgpu.backend import cupy as cuda
from bpgpu.config import VARIABLES
from bpgpu.device import Device, device, devices, show_config, to_device, to_numpy
from bpgpu.errors import BpgpuError, DeviceError, DtypeError, LibraryError

device_module = sys.modules["bpgpu.device"]  # the name `bpgpu.device` is the function
Install = Callable[..., types.ModuleType]


def forget() -> None:
    """As in a fresh process: nothing has been looked for."""
    for found in (cuda.survey, cuda.trial, cuda.name, cuda._warn_of_several):
        found.cache_clear()
    device_module._log_once.cache_clear()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No environment variable and no memory of earlier searches gets into a test or out of it."""
    for variable in ("BPGPU_DEVICE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    forget()
    yield
    forget()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a fake CuPy in place of the real one."""

    def install(**options: Any) -> types.ModuleType:
        cupy = fake_cupy.make(**options)
        namespace = types.ModuleType("array_api_compat.cupy")
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "array_api_compat.cupy", namespace)
        forget()
        return cupy

    return install


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)


def refusal(name: str) -> str:
    """The text with which a device is refused."""
    with pytest.raises(DeviceError) as caught:
        device(name)
    return str(caught.value)


# ---- without CUDA


def test_auto_is_the_cpu_without_cupy(no_cupy: None) -> None:
    found = device("auto")
    assert found == device("cpu")
    assert found.reason == "CPU: CuPy is not installed"


def test_cuda_without_cupy_names_the_extras_and_their_drivers(no_cupy: None) -> None:
    assert refusal("cuda") == (
        "device 'cuda': CuPy is not installed. Remedy: install it with pip install \"bpgpu[cuda13]\" (needs an NVIDIA "
        'driver of version 580 or newer) or pip install "bpgpu[cuda12]" (525 or newer)'
    )


OBSTACLES = {
    "no driver": (
        {"driver": 0, "status": 35},
        "CuPy 14.2.0 found, but no CUDA driver (driver version 0)",
        (
            "install NVIDIA's driver, version 580 or newer for bpgpu[cuda13] or 525 or newer for bpgpu[cuda12]; a "
            "container must be given the GPU, for example with docker run --gpus all"
        ),
    ),
    "old driver": (
        {"driver": 11040, "status": 35},
        "CuPy 14.2.0 found, but the driver is too old: it gives CUDA 11.4, CuPy was built for CUDA 13.2",
        "update NVIDIA's driver to version 580 or newer, or to 525 or newer and install bpgpu[cuda12]",
    ),
    "no device, as an error": (
        {"status": 100},
        "CuPy 14.2.0 found and a driver for CUDA 13.0, but no device",
        "check what nvidia-smi shows",
    ),
    "no device, as a number": (
        {"devices": 0},
        "CuPy 14.2.0 found and a driver for CUDA 13.0, but no device",
        "check what nvidia-smi shows",
    ),
    "another CUDA error": (
        {"status": 802},
        "CuPy 14.2.0 found, but CUDA does not answer (cudaErrorSystemNotReady: system not yet initialized)",
        "check what nvidia-smi shows",
    ),
    "no compiler": (
        {"missing": "nvrtc"},
        (
            "CuPy 14.2.0 and a driver found, but the CUDA library NVRTC does not load "
            '(Failure finding "libnvrtc.so.13": No such file)'
        ),
        'install the CUDA libraries with pip install "bpgpu[cuda13]"',
    ),
    "no cuBLAS": (
        {"missing": "cublas"},
        (
            "CuPy 14.2.0 and a driver found, but the CUDA library cuBLAS does not load "
            '(Failure finding "libcublasLt.so.13")'
        ),
        'install the CUDA libraries with pip install "bpgpu[cuda13]"',
    ),
    "a kernel that does not run": (
        {"kernel": RuntimeError("cudaErrorUnknown: unknown error")},
        "CuPy 14.2.0 found cuda:0, but a first kernel fails (cudaErrorUnknown: unknown error)",
        'run python -c "import cupy; cupy.cuda.Device(0).use(); print(cupy.arange(4))" to see more of it',
    ),
    "a kernel that does not compile": (
        {"kernel": fake_cupy.CompileException("error: expected a ;\nin line 1")},
        "CuPy 14.2.0 found cuda:0, but a first kernel fails (error: expected a ;)",
        'run python -c "import cupy; cupy.cuda.Device(0).use(); print(cupy.arange(4))" to see more of it',
    ),
    "a device without free memory": (
        {"kernel": MemoryError()},
        "CuPy 14.2.0 found cuda:0, but a first kernel fails (MemoryError)",
        'run python -c "import cupy; cupy.cuda.Device(0).use(); print(cupy.arange(4))" to see more of it',
    ),
    "a kernel with wrong numbers": (
        {"kernel": [0, 0, 0, 0]},
        "CuPy 14.2.0 found cuda:0, but a first kernel computes wrong numbers ([0, 0, 0, 0])",
        'run python -c "import cupy; cupy.cuda.Device(0).use(); print(cupy.arange(4))" to see more of it',
    ),
}


@pytest.mark.parametrize("what", OBSTACLES)
def test_each_obstacle_has_its_cause_and_its_remedy(what: str, install: Install) -> None:
    options, cause, remedy = OBSTACLES[what]
    install(**options)
    found = device("auto")
    assert (found, found.reason) == (Device("cpu"), f"CPU: {cause}")
    assert refusal("cuda") == f"device 'cuda': {cause}. Remedy: {remedy}"


def test_a_missing_device_mentions_the_variable_that_hides_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    install(status=100)
    assert refusal("cuda").endswith(
        "Remedy: check what nvidia-smi shows, and CUDA_VISIBLE_DEVICES, which is set to ''"
    )


def test_the_error_of_cupy_is_the_cause_of_ours(install: Install) -> None:
    install(missing="cublas")
    with pytest.raises(DeviceError) as caught:
        device("cuda")
    assert isinstance(caught.value.__cause__, ImportError)
    assert isinstance(caught.value, ValueError)


def test_a_cupy_that_does_not_import_is_told_apart_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text("raise AttributeError('_ARRAY_API not found\\nmore')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert device("auto").reason == (
        "CPU: CuPy is installed, but does not import (_ARRAY_API not found)"
    )
    assert 'Remedy: run python -c "import cupy" to see all of the error' in refusal("cuda")


def test_a_cupy_that_misses_a_module_is_told_apart_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text("import module_that_is_not_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert device("auto").reason == (
        "CPU: CuPy is installed, but does not import (No module named 'module_that_is_not_there')"
    )


def test_cuda_is_looked_for_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    assert device("auto").type == "cuda"
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert device("auto").type == "cuda"


def test_the_real_cupy_without_a_driver_is_told_in_the_same_words() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.is_available():
        pytest.skip("there is a CUDA device")
    found = device("auto")
    assert found == device("cpu")
    assert found.reason.startswith(f"CPU: CuPy {cupy.__version__} found, but ")
    assert "Remedy: " in refusal("cuda")
    assert Device("cuda", 0).xp.__name__ == "array_api_compat.cupy"  # no driver is needed for it


# ---- with CUDA


def test_auto_is_the_first_cuda_device(install: Install) -> None:
    install()
    found = device("auto")
    assert str(found) == "cuda:0"
    assert found.reason == "cuda:0 (NVIDIA H100, 80.0 GiB): found by CuPy, and a first kernel ran"


def test_devices_are_taken_by_name(install: Install) -> None:
    install()
    assert device("cuda") == device("cuda:0") != device("cuda:1")
    assert device("cuda:1").reason == "cuda:1 (NVIDIA H100, 80.0 GiB): asked for by name"
    assert device("cpu").reason == "CPU: asked for by name"
    assert device(device("cuda:1")) is not None
    assert (device("cuda:1").type, device("cuda:1").index) == ("cuda", 1)


def test_a_number_out_of_range_names_the_devices_that_exist(install: Install) -> None:
    install()
    assert refusal("cuda:5") == (
        "device 'cuda:5': there is no such device, only cuda:0 (NVIDIA H100, 80.0 GiB), cuda:1 (NVIDIA H100, "
        "80.0 GiB). Remedy: count from 0, over the devices that CUDA_VISIBLE_DEVICES lets through"
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "", 0, object])
def test_what_names_no_device_is_an_error(name: Any) -> None:
    assert refusal(name) == (
        f"device {name!r}: this is no device. Remedy: pass 'auto', 'cpu', 'cuda', a number with it as in 'cuda:1', or "
        "a bpgpu.Device"
    )


def test_all_devices_are_listed(install: Install) -> None:
    install()
    assert [str(d) for d in devices()] == ["cpu", "cuda:0", "cuda:1"]
    assert devices()[2].reason == "cuda:1 (NVIDIA H100, 80.0 GiB): shown by the driver"


def test_only_the_cpu_is_listed_without_cuda(no_cupy: None) -> None:
    assert devices() == [device("cpu")]


def test_a_cuda_device_gives_its_namespace_memory_and_name(install: Install) -> None:
    install()
    dev = device("cuda:1")
    assert dev.name == "NVIDIA H100, 80.0 GiB"
    assert dev.memory() == (2**30, 2**29, 60 * 2**30, 80 * 2**30)
    assert str(dev.memory()) == "1.0 GiB used, 512 MiB pooled, 60.0 GiB free of 80.0 GiB"
    dev.synchronize()
    assert fake_cupy.log[-1] == "synchronize 1"


def test_arrays_go_to_a_cuda_device_and_come_back(install: Install) -> None:
    install()
    dev = device("cuda:1")
    x = dev.asarray([[1.0, 2.0]], dtype="float32")
    assert isinstance(x, fake_cupy.ndarray)
    assert (x.device, x.dtype) == (1, np.float32)
    assert dev.asarray(x) is x
    assert dev.asarray(x, "float64").dtype == np.float64
    assert device("cuda:0").asarray(x).device == 0
    assert dev.asarray([x, x]).shape == (2, 1, 2)
    np.testing.assert_array_equal(to_numpy(x), [[1.0, 2.0]])
    np.testing.assert_array_equal(device("cpu").asarray(x), [[1.0, 2.0]])


def test_torch_tensors_go_to_a_cuda_device(install: Install) -> None:
    torch = pytest.importorskip("torch")
    install()
    x = device("cuda").asarray(torch.ones(2, requires_grad=True))
    np.testing.assert_array_equal(to_numpy(x), np.ones(2, np.float32))


def test_a_with_block_moves_cupy_too(install: Install) -> None:
    cupy = install()
    with device("cuda:1") as dev:
        assert device() is dev
        assert cupy.asarray(np.ones(1)).device == 1
        with device("cpu"):
            assert device() == device("cpu")
        assert device() is dev
    assert cupy.asarray(np.ones(1)).device == 0


# ---- BPGPU_DEVICE


@pytest.mark.parametrize(
    ("value", "name", "reason"),
    [
        ("cpu", "cpu", "CPU: BPGPU_DEVICE=cpu"),
        (" CPU ", "cpu", "CPU: BPGPU_DEVICE=cpu"),
        ("cuda:1", "cuda:1", "cuda:1 (NVIDIA H100, 80.0 GiB): BPGPU_DEVICE=cuda:1"),
        ("auto", "cuda:0", "cuda:0 (NVIDIA H100, 80.0 GiB): found by CuPy, and a first kernel ran"),
        ("", "cuda:0", "cuda:0 (NVIDIA H100, 80.0 GiB): found by CuPy, and a first kernel ran"),
    ],
)
def test_the_environment_decides_for_auto(
    value: str, name: str, reason: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("BPGPU_DEVICE", value)
    assert (str(device("auto")), device("auto").reason) == (name, reason)
    assert device() == device("auto")


def test_the_environment_does_not_touch_a_named_device(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("BPGPU_DEVICE", "cpu")
    assert str(device("cuda:1")) == "cuda:1"


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("gpu", "this is no device"),
        (
            "cuda:7",
            "there is no such device, only cuda:0 (NVIDIA H100, 80.0 GiB), cuda:1 (NVIDIA H100, 80.0 GiB)",
        ),
    ],
)
def test_auto_follows_a_bad_environment_to_the_cpu_and_says_so_once(
    value: str,
    cause: str,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    install()
    monkeypatch.setenv("BPGPU_DEVICE", value)
    with caplog.at_level(logging.WARNING):
        found = [device("auto"), device("auto")]
    reason = f"CPU: BPGPU_DEVICE={value} cannot be followed: {cause}"
    assert [(str(d), d.reason) for d in found] == [("cpu", reason)] * 2
    assert caplog.messages == [reason]


# ---- several CuPy packages


def packages(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = [
        types.SimpleNamespace(metadata={"Name": name}) for name in (*names, "numpy", "cupyx-extras")
    ]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: found)


def test_several_cupy_packages_are_named_once(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    packages(monkeypatch, "cupy-cuda13x", "cupy-cuda12x")
    message = (
        "several CuPy packages are installed: cupy-cuda12x, cupy-cuda13x. They overwrite each other's files; uninstall "
        'all of them, then pip install "bpgpu[cuda13]" or "bpgpu[cuda12]"'
    )
    with pytest.warns(RuntimeWarning, match=f"^{re.escape(message)}$"):
        assert device("auto").type == "cuda"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device("auto")
        device("cuda:1")


def test_cupys_own_warning_about_it_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "\\n-----\\n  CuPy may not function correctly because multiple CuPy packages are installed"
    )
    (tmp_path / "cupy.py").write_text(
        f"import warnings\nwarnings.warn('{text}')\nraise ImportError('x')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert device("auto").reason == "CPU: CuPy is installed, but does not import (x)"


@pytest.mark.parametrize("name", ["cupy", "cupy-cuda11x", "cupy-rocm-7-0", "amd-cupy", "CuPy"])
def test_all_names_of_cupy_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packages(monkeypatch, name)
    assert cuda.installed() == [name]


# ---- the device object


def test_devices_are_equal_by_place_and_not_by_reason(install: Install) -> None:
    install()
    assert device("auto") == device("cuda")
    assert hash(device("auto")) == hash(device("cuda"))
    assert len({device("cpu"), device("auto"), device("cuda"), device("cuda:1")}) == 3
    assert device("cpu") != "cpu"


def test_a_device_prints_as_its_name() -> None:
    assert (str(device("cpu")), repr(device("cpu"))) == ("cpu", "Device('cpu')")
    assert f"{Device('cuda', 1)!r}" == "Device('cuda:1')"


def test_a_device_cannot_be_changed_and_can_be_pickled() -> None:
    cpu = device("cpu")
    with pytest.raises(AttributeError):
        cpu.index = 1  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(cpu))
    assert (again, again.reason) == (cpu, cpu.reason)


def test_the_cpu_has_a_namespace_a_name_and_memory() -> None:
    cpu = device("cpu")
    assert cpu.xp.__name__ == "array_api_compat.numpy"
    assert cpu.name.endswith(" cores")
    memory = cpu.memory()
    if sys.platform == "linux":
        assert 0 < memory.used < memory.total
        assert 0 < memory.free < memory.total
        assert re.fullmatch(r"\d.* used, \d.* free of \d.*", str(memory))
    cpu.synchronize()


def test_a_with_block_ends_with_an_error_too(no_cupy: None) -> None:
    cpu = Device("cpu", None, "mine")
    with pytest.raises(ZeroDivisionError, match="mine"), cpu:
        raise ZeroDivisionError(device().reason)
    assert device().reason == "CPU: CuPy is not installed"


def test_a_device_may_be_entered_twice(no_cupy: None) -> None:
    cpu = Device("cpu", None, "mine")
    with cpu:
        with cpu:
            assert device() is cpu
        assert device() is cpu
    assert device() is not cpu


def test_a_with_block_holds_in_its_own_thread_only(no_cupy: None) -> None:
    seen: list[str] = []
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait()
        seen.append(device().reason)
        with Device("cpu", None, "the other's"):
            seen.append(device().reason)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with Device("cpu", None, "mine"):
        inside.set()
        done.wait()
        assert device().reason == "mine"
    thread.join()
    assert seen == ["CPU: CuPy is not installed", "the other's"]


# ---- arrays


DTYPES = ["bool", "int8", "uint16", "int64", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_library_come_to_numpy(xp: Any, dtype: str) -> None:
    if "torch" in xp.__name__ and dtype == "uint16":
        pytest.skip("torch makes no uint16 from a list")
    x = xp.asarray([[0, 1], [1, 0]], dtype=getattr(xp, dtype))
    found = to_numpy(x)
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray([[0, 1], [1, 0]], dtype))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2)])
def test_any_shape_comes_to_numpy(xp: Any, shape: tuple[int, ...]) -> None:
    found = to_numpy(xp.zeros(shape))
    assert (type(found), found.shape) == (np.ndarray, shape)


def test_non_contiguous_arrays_come_to_numpy(xp: Any) -> None:
    x = xp.reshape(xp.arange(12), (3, 4))
    np.testing.assert_array_equal(to_numpy(x.T[::2, :]), np.arange(12).reshape(3, 4).T[::2])


def test_jax_arrays_come_to_numpy() -> None:
    jnp = pytest.importorskip("jax.numpy")
    np.testing.assert_array_equal(to_numpy(jnp.arange(3)), [0, 1, 2])
    assert to_numpy(jnp.ones(2, dtype="bfloat16")).dtype.name == "bfloat16"


def test_strict_arrays_come_to_numpy_from_any_device() -> None:
    strict = pytest.importorskip("array_api_strict")
    x = strict.asarray([1.0, 2.0], device=strict.Device("device1"))
    np.testing.assert_array_equal(to_numpy(x), [1.0, 2.0])


def test_torch_tensors_come_to_numpy_whatever_bits_they_carry() -> None:
    torch = pytest.importorskip("torch")
    z = torch.tensor([1 + 2j])
    np.testing.assert_array_equal(to_numpy(torch.ones(2, requires_grad=True) * 2), [2, 2])
    np.testing.assert_array_equal(to_numpy(z.conj()), [1 - 2j])
    np.testing.assert_array_equal(to_numpy(z.conj().imag), [-2])


def test_torch_tensors_without_a_counterpart_are_refused() -> None:
    torch = pytest.importorskip("torch")
    message = (
        "to_numpy: a torch tensor with dtype torch.bfloat16 and layout torch.strided has no counterpart in NumPy; "
        "convert it first, with x.float() or x.to_dense()"
    )
    with pytest.raises(DtypeError, match=f"^{re.escape(message)}$"):
        to_numpy(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(DtypeError, match=r"layout torch\.sparse_coo"):
        to_numpy(torch.eye(2).to_sparse())


def test_memory_is_shared_where_it_can_be() -> None:
    x = np.zeros(3)
    assert device("cpu").asarray(x) is x
    to_numpy(x)[0] = 1
    assert x[0] == 1


class Pair(NamedTuple):
    first: Any
    second: Any


def test_trees_are_moved_as_a_whole(xp: Any) -> None:
    tree = {"w": [xp.ones(2), None], "p": Pair(xp.zeros(()), "text"), "n": 3}
    for moved in (to_numpy(tree), to_device(tree, "cpu"), to_device(tree, device("cpu"))):
        assert (moved["w"][1], moved["p"].second, moved["n"]) == (None, "text", 3)
        assert type(moved["w"][0]) is type(moved["p"].first) is np.ndarray


def test_trees_go_to_the_device_of_the_block(install: Install) -> None:
    install()
    with device("cuda:1"):
        assert to_device([np.ones(1)])[0].device == 1
    assert to_device([np.ones(1)])[0].device == 0
    with pytest.raises(DeviceError, match="there is no such device"):
        to_device([np.ones(1)], "cuda:9")


@pytest.mark.parametrize(
    "dtype", ["float32", np.float32, np.dtype("float32"), "torch.float32", "strict.float32"]
)
def test_a_dtype_is_a_name_or_an_object_of_any_library(dtype: Any) -> None:
    if isinstance(dtype, str) and "." in dtype:
        library, _, name = dtype.partition(".")
        module = {"torch": "torch", "strict": "array_api_strict"}[library]
        dtype = getattr(pytest.importorskip(module), name)
    assert device("cpu").asarray([1, 2], dtype).dtype == np.float32


def test_no_dtype_keeps_what_the_data_have() -> None:
    cpu = device("cpu")
    assert cpu.asarray(np.float32([1])).dtype == np.float32
    assert cpu.asarray([1.0]).dtype == np.float64
    assert cpu.asarray([1]).dtype == np.int64
    assert cpu.asarray(True).dtype == np.bool_
    assert cpu.asarray(np.float32(1)).shape == ()


@pytest.mark.parametrize("dtype", ["flaot32", "str", object, 3, "datetime64[s]"])
def test_a_dtype_that_is_none_is_an_error(dtype: Any) -> None:
    message = (
        f"dtype {dtype!r} is not known: expected a name such as 'float32', 'float64', 'complex64', 'int64' or 'bool', "
        "or a dtype object of an array library"
    )
    with pytest.raises(DtypeError, match=f"^{re.escape(message)}$"):
        device("cpu").asarray([1.0], dtype)


@pytest.mark.parametrize("data", ["text", ["a"], None, [None, 1.0], object()])
def test_data_that_are_no_numbers_are_refused(data: Any) -> None:
    with pytest.raises(DtypeError) as caught:
        device("cpu").asarray(data)
    assert re.fullmatch(
        r"asarray: expected numbers, got \w+ that NumPy reads as dtype (object|<U\d+); turn strings, missing values "
        r"and objects into numbers first",
        str(caught.value),
    )


def test_what_looks_like_an_array_and_is_none_is_refused() -> None:
    class Odd:
        shape, dtype = (2,), np.dtype("float32")

    with pytest.raises(LibraryError, match=r"^expected an array of NumPy, CuPy or another library"):
        to_numpy([Odd()])


def test_an_array_without_a_conversion_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy:
        shape, dtype = (2,), np.dtype("float32")

        def __array_namespace__(self, api_version: str | None = None) -> Any:
            return types.SimpleNamespace(__name__="lazy")

    message = (
        "to_numpy: an array of lazy has no conversion to NumPy; convert it with that library's own "
        "functions first"
    )
    with pytest.raises(LibraryError, match=f"^{re.escape(message)}$"):
        to_numpy(Lazy())


# ---- the report


def test_the_report_tells_versions_devices_and_what_was_skipped(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(missing="nvrtc")
    packages(monkeypatch, "cupy-cuda13x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    show_config()
    text = capsys.readouterr().out
    for line in (
        r"bpgpu .+",
        rf"  Python  {re.escape(sys.version.split()[0])} \(CPython\)",
        r"  system  .+",
        r"  BLAS    .+",
        r"devices",
        r"  cpu  .+ cores; .+ free of .+",
        r"chosen by 'auto'",
        r"  cpu  CPU: CuPy 14\.2\.0 and a driver found, but the CUDA library NVRTC does not load .+",
        r"skipped",
        r"  cuda  CuPy 14\.2\.0 and a driver found, but the CUDA library NVRTC does not load .+",
        r'        remedy: install the CUDA libraries with pip install "bpgpu\[cuda13\]"',
        r"packages",
        rf"  numpy +{re.escape(np.__version__)}",
        r"environment",
        r"  CUDA_VISIBLE_DEVICES  0",
    ):
        assert re.search(f"(?m)^{line}$", text), line
    assert "PYTHON" not in text


def test_the_report_lists_cuda_devices_and_the_broken_ones(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(kernel=RuntimeError("no"))
    show_config()
    text = capsys.readouterr().out
    assert "  cuda:0  NVIDIA H100, 80.0 GiB; 1.0 GiB used" in text
    assert "  cuda:1  CuPy 14.2.0 found cuda:1, but a first kernel fails (no)" in text


def test_the_report_leaves_out_what_is_empty(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    show_config()
    text = capsys.readouterr().out
    assert "skipped" not in text
    assert "environment" not in text


# ---- with a real CuPy


def test_the_real_cupy_has_all_the_names_that_are_used() -> None:
    cupy = pytest.importorskip("cupy")
    for path in (
        "arange", "asarray", "get_default_memory_pool", "ndarray.get", "cuda.Device.__enter__",
        "cuda.Device.mem_info", "cuda.Device.synchronize", "cuda.compiler.CompileException",
        "cuda.nvrtc.getVersion", "cuda.runtime.CUDARuntimeError", "cuda.runtime.driverGetVersion",
        "cuda.runtime.getDeviceCount", "cuda.runtime.getDeviceProperties",
        "cuda.runtime.runtimeGetVersion",
    ):  # fmt: skip
        found = cupy
        for name in path.split("."):
            found = getattr(found, name)


@pytest.mark.gpu
def test_a_real_device_works() -> None:
    dev = device("cuda")
    assert device("auto") == dev
    x = dev.asarray([[1.0, 2.0]], "float32")
    np.testing.assert_array_equal(to_numpy({"x": x * 2})["x"], [[2.0, 4.0]])
    assert dev.asarray(x) is x
    with dev:
        np.testing.assert_array_equal(to_numpy(dev.xp.zeros(3)), np.zeros(3))
    dev.synchronize()
    memory = dev.memory()
    assert memory.used > 0
    assert memory.free < memory.total
    assert issubclass(DeviceError, BpgpuError)
