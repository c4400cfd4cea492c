"""CuPy on the CPU: arrays, pools, streams and graphs that behave as CuPy's do, with NumPy as the device.

`install()` puts a package `cupy` into `sys.modules`, over which the real `array_api_compat.cupy` is loaded. What is
simulated, as read in the source of CuPy 14.2:

- Memory comes from pools, and freed blocks are handed out again at once, with what was in them.
- While a stream captures, calls are noted and not run, and new arrays hold NaN. `Graph.launch` runs them again on the
  same memory. Copies from and to the host raise `RuntimeError`, products of cuBLAS `NotImplementedError` unless
  `products` is true, which stands for bpgpu's own products.
- Nothing is converted to NumPy but by `get`.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from bpgpu.backend import lint

__name__ = "cupy.on_numpy"

FUNCTIONS_OF_THE_HOST = frozenset(
    (
        *("result_type", "can_cast", "issubdtype", "finfo", "iinfo", "broadcast_shapes", "ndim"),
        *("shape", "size", "isscalar", "promote_types", "min_scalar_type", "isdtype"),
    )
)
SOLVER = frozenset(
    ("svd", "eigh", "eigvalsh", "eig", "eigvals", "qr", "cholesky", "inv", "solve", "lstsq", "pinv", "det", "slogdet")
)  # fmt: skip
"""Functions of cuSOLVER, which are refused while a stream captures."""
BLAS = frozenset(("matmul", "dot", "tensordot", "einsum", "vdot", "inner", "outer_product"))
MISSING = frozenset(("vecdot", "unstack", "vector_norm", "matrix_norm", "svdvals", "astype"))
"""What NumPy has and CuPy 14 has not."""


class CUDARuntimeError(RuntimeError):
    status = 900


# ---- memory


class MemoryPool:
    """Blocks by size; a freed one goes to the next array of its size."""

    def __init__(self) -> None:
        self._free: dict[int, list[Any]] = {}
        self._total = self._used = 0
        self.limit: int | None = None
        """Bytes; more raise OutOfMemoryError."""

    def malloc(self, size: int) -> Memory:
        size = max(512, -(-size // 512) * 512)
        blocks = self._free.get(size)
        if blocks:
            block = blocks.pop()
        else:
            if self.limit is not None and self._total + size > self.limit:
                raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
            block = np.full(size + 512, 0xFF, np.uint8)
            start = -block.__array_interface__["data"][0] % 512  # as the device's memory is aligned
            block = block[start : start + size]
            self._total += size
        self._used += size
        return Memory(self, block)

    def total_bytes(self) -> int:
        return self._total

    def used_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return self._total - self._used

    def free_all_blocks(self) -> None:
        self._free.clear()
        self._total = self._used


class OutOfMemoryError(MemoryError):
    pass


class Memory:
    def __init__(self, pool: MemoryPool, block: Any) -> None:
        self.pool, self.block = pool, block

    def __del__(self) -> None:
        self.pool._free.setdefault(self.block.size, []).append(self.block)
        self.pool._used -= self.block.size


class State:
    """The stream, device and allocator of now."""

    def __init__(self) -> None:
        self.default_pool = MemoryPool()
        self.allocator: list[Callable[[int], Memory]] = [self.default_pool.malloc]
        self.streams: list[Stream] = []
        self.devices: list[int] = [0]
        self.products = True
        self.launches = 0
        """How many calls were run or noted."""


state = State()


# ---- streams and graphs


class Event:
    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    done = True

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        refuse_in_capture("cudaErrorStreamCaptureUnsupported")


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False, **options: Any) -> None:
        self.null = null
        self.graph: Graph | None = None
        self.ptr = id(self)

    def __enter__(self) -> Stream:
        state.streams.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        state.streams.pop()

    def use(self) -> Stream:
        state.streams[-1:] = [self]
        return self

    def record(self, event: Any = None) -> Event:
        return Event()

    def wait_event(self, event: Event) -> None:
        pass

    def synchronize(self) -> None:
        refuse_in_capture(
            "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
        )

    def is_capturing(self) -> bool:
        return self.graph is not None

    def begin_capture(self, mode: Any = None) -> None:
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self.graph = Graph()

    def end_capture(self) -> Graph:
        graph, self.graph = self.graph, None
        if graph is None:
            raise CUDARuntimeError(
                "cudaErrorIllegalState: the operation cannot be performed in the present state"
            )
        return graph


NULL = Stream(null=True)


class Graph:
    """What was noted, to be run again."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.launched = 0

    def upload(self, stream: Any = None) -> None:
        pass

    def launch(self, stream: Any = None) -> None:
        self.launched += 1
        with np.errstate(all="ignore"):
            for call in self.calls:
                call()


def current() -> Stream:
    return state.streams[-1] if state.streams else NULL


def capturing() -> Graph | None:
    return current().graph


def launch(call: Callable[[], None]) -> None:
    """What a kernel does: run, or be noted."""
    state.launches += 1
    graph = capturing()
    if graph is None:
        call()
    else:
        graph.calls.append(call)


def refuse_in_capture(what: str) -> None:
    if capturing() is not None:
        raise RuntimeError(what)


# ---- arrays


class Cupy(lint.Library):
    """How calls on the fake's arrays are run."""

    def refuse(self, what: str) -> None:  # type: ignore[override]
        refuse_in_capture(f"the current stream is capturing, so {what}")

    def check(self, name: str, args: Any, options: Any) -> None:
        for x in (*args, *options.values()):
            if isinstance(x, np.ndarray) and name not in lint.UPLOADS:
                raise TypeError(f"{name}: Unsupported type <class 'numpy.ndarray'>")
        if capturing() is None:
            return
        if name in SOLVER or (name in BLAS and not state.products):
            raise NotImplementedError(
                f"calling {name} during stream capture is currently unsupported"
            )
        if name not in ("concat", "stack", "concatenate") or len(args[0]) > lint.MOST:
            super().check(name, args, options)

    def reads(self, x: Any, how: str) -> Any:
        refuse_in_capture(
            f"the current stream is capturing, so synchronous API calls are disallowed: {how}"
        )
        return x.values

    def run(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        self.check(name, args, options)
        out = options.get("out")
        if out is not None:
            out = out[0] if isinstance(out, tuple) else out
            rest = {k: v for k, v in options.items() if k != "out"}
            return self.write(
                lambda y, *xs, **o: y.__setitem__(..., function(*xs, **o)), out, *args, **rest
            )
        given, named = lint.plain(args), lint.plain(options)
        with np.errstate(all="ignore"):  # a GPU does not warn
            result = function(*given, **named)
        fresh: list[tuple[Any, ...]] = []
        wrapped = self.taken(result, (args, options), (), fresh)
        if fresh:
            self.noted(lambda: function(*given, **named), result, fresh)
        return wrapped

    def noted(self, again: Callable[[], Any], result: Any, fresh: list[tuple[Any, ...]]) -> None:
        """Results get their values now, or when the graph is launched."""

        def fill(made: Any) -> None:
            for place, values in fresh:  # a graph holds addresses, and keeps no array alive
                x = made
                for i in place:
                    x = x[i]
                values[...] = x

        if capturing() is None:
            state.launches += 1
            fill(result)
        else:
            launch(lambda: fill(again()))

    def taken(self, result: Any, operands: Any, place: Any, fresh: list[Any]) -> Any:
        if isinstance(result, (np.ndarray, np.generic)):
            values = np.asarray(result)
            owner = lint.owner_among(values, operands)
            if owner is not None and values.size:
                return self.array(values, owner)
            made = self.array.empty(values.shape, values.dtype, like=values)
            fresh.append((place, made.values))
            return made
        if isinstance(result, tuple) and hasattr(result, "_fields"):
            return type(result)(
                *[self.taken(x, operands, (*place, i), fresh) for i, x in enumerate(result)]
            )
        if isinstance(result, (list, tuple)):
            return type(result)(
                [self.taken(x, operands, (*place, i), fresh) for i, x in enumerate(result)]
            )
        return result

    def write(self, function: Callable[..., Any], target: Any, *args: Any, **options: Any) -> Any:
        self.check(function.__name__, args, options)
        given, named = lint.plain(args), lint.plain(options)
        if capturing() is not None and function.__name__ == "setitem":
            np.broadcast_to(given[1], target.values[given[0]].shape)
        values = target.values
        with np.errstate(all="ignore"):
            launch(lambda: function(values, *given, **named))
        return target


class ndarray(lint.CheckedArray):  # noqa: N801 - CuPy's name
    """An array in a block of a pool."""

    library = Cupy()
    __module__ = "cupy"

    def __init__(self, values: Any, owner: Any = None) -> None:
        super().__init__(values, owner)
        self.memory = owner.memory if owner is not None else None
        self._device = owner._device if owner is not None else state.devices[-1]

    @classmethod
    def empty(cls, shape: Any, dtype: Any, like: Any = None) -> ndarray:
        """New memory, of which nothing is known; in the order of `like`."""
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        memory = state.allocator[-1](math.prod(shape) * dtype.itemsize)
        order = (
            "F"
            if like is not None and like.flags.f_contiguous and not like.flags.c_contiguous
            else "C"
        )
        made = cls(np.ndarray(shape, dtype, buffer=memory.block.data, order=order))
        made.memory = memory
        if capturing() is not None:
            made.values[...] = np.nan if dtype.kind in "fc" else 0
        return made

    @property
    def device(self) -> Any:
        return Device(self._device)

    @property
    def data(self) -> Any:
        address = self.values.__array_interface__["data"][0]
        return types.SimpleNamespace(ptr=address, device_id=self._device, mem=self.memory)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.data.ptr, False),
            "strides": self.strides,
            "version": 3,
        }

    @property
    def flags(self) -> Any:
        f = self.values.flags
        return types.SimpleNamespace(
            c_contiguous=f.c_contiguous, f_contiguous=f.f_contiguous, owndata=self.owner is None
        )

    def __array_namespace__(self, *, api_version: str | None = None) -> NoReturn:
        raise AttributeError("cupy.ndarray has no attribute __array_namespace__")

    def get(self, *args: Any, **options: Any) -> Any:
        return self.library.reads(self, "get").copy()

    def set(self, arr: Any, stream: Any = None) -> None:
        refuse_in_capture("copies from the host are disallowed")
        self.values[...] = arr

    def item(self) -> Any:
        return self.library.reads(self, "item").item()

    def fill(self, value: Any) -> None:
        if not isinstance(value, ndarray):
            value = np.asarray(value).astype(self.dtype)[()]
        self.library.write(_fill, self, value)

    def scatter_add(self, key: Any, value: Any) -> None:
        sys.modules["cupy"].add.at(self, key, value)

    def __reduce__(self) -> Any:
        return _from_host, (self.get(),)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    __array_ufunc__ = None  # type: ignore[assignment]

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        found = getattr(sys.modules["cupy"], function.__name__, None)
        return NotImplemented if found is None else found(*args, **options)


del ndarray.__array_namespace__
Cupy.array = ndarray


def _fill(values: Any, value: Any) -> None:
    values[...] = value


_fill.__name__ = "fill"


def _from_host(values: Any) -> Any:
    return sys.modules["cupy"].asarray(values)


class Device:
    def __init__(self, index: Any = None) -> None:
        self.id = state.devices[-1] if index is None else getattr(index, "id", index)

    def __enter__(self) -> Device:
        state.devices.append(self.id)
        return self

    def __exit__(self, *error: object) -> None:
        state.devices.pop()

    def use(self) -> Device:
        state.devices[-1:] = [self.id]
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    compute_capability = "90"
    mem_info = (60 * 2**30, 80 * 2**30)

    def synchronize(self) -> None:
        refuse_in_capture("cudaErrorStreamCaptureUnsupported")


# ---- functions


class Ufunc:
    """A function with methods; `kernel` names bear CuPy's prefix."""

    def __init__(self, function: Any) -> None:
        self.function, self.__name__, self.name = (
            function,
            function.__name__,
            f"cupy_{function.__name__}",
        )
        self.nin, self.nout = function.nin, function.nout

    def __call__(self, *args: Any, **options: Any) -> Any:
        for x in args:
            if hasattr(x, "__cupy_override_elementwise_kernel__"):
                return x.__cupy_override_elementwise_kernel__(self, *args, **options)
        name = {"multiply": "mul"}.get(self.__name__, self.__name__)
        return ndarray.library.run(name, self.function, args, options)

    def at(self, x: Any, key: Any, values: Any = None) -> None:
        if self.__name__ not in ("add", "subtract", "maximum", "minimum"):
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if x.dtype.name in ("int64", "int16", "int8", "uint8", "uint16", "bool"):
            raise TypeError(
                f"cupy.{self.__name__}.at only supports int32, float16, ..., got {x.dtype}"
            )
        x._check_key(key)
        function = self.function
        ndarray.library.write(_named("at", lambda a, k, v: function.at(a, k, v)), x, key, values)

    def reduce(self, x: Any, axis: Any = 0, **options: Any) -> Any:
        return ndarray.library.run("reduce", self.function.reduce, (x,), {"axis": axis, **options})


def _named(name: str, f: Any) -> Any:
    f.__name__ = name
    return f


def _wrapped(name: str, function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if name in FUNCTIONS_OF_THE_HOST:
            return function(*lint.plain(args), **lint.plain(options))
        if name in ("where", "clip") and any(isinstance(a, np.ndarray) for a in args):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        return ndarray.library.run(name, function, args, options)

    return call


def _asarray(
    obj: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False
) -> Any:
    if isinstance(obj, ndarray):
        same = dtype is None or np.dtype(dtype) == obj.dtype
        if same and not copy and obj._device == state.devices[-1]:
            return obj
        return ndarray.library.run(
            "copy", lambda v: np.array(v, dtype=dtype, copy=True), (obj,), {}
        )
    if isinstance(obj, (list, tuple)) and any(isinstance(v, ndarray) for v in obj):
        return sys.modules["cupy"].stack([_asarray(v, dtype) for v in obj])
    if hasattr(obj, "__array_namespace__") and not isinstance(obj, (np.ndarray, np.generic)):
        raise TypeError(f"Unsupported type {type(obj)}")
    refuse_in_capture("the current stream is capturing, so copies from the host are disallowed")
    values = np.asarray(obj, dtype=dtype)
    if values.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {values.dtype}")
    made = ndarray.empty(values.shape, values.dtype, like=values)
    made.values[...] = values
    return made


def _array(obj: Any, dtype: Any = None, copy: Any = True, order: Any = "K", **options: Any) -> Any:
    return _asarray(obj, dtype, copy=copy)


def _created(name: str) -> Any:
    function = getattr(np, name)

    def create(*args: Any, **options: Any) -> Any:
        options.pop("order", None)
        return ndarray.library.run(name, function, args, options)

    return create


def _as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    values = np.lib.stride_tricks.as_strided(x.values, shape, strides)
    return ndarray(values, x if x.owner is None else x.owner)


def make(devices: int = 1) -> dict[str, types.ModuleType]:
    """The modules of the package."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.__path__ = []  # type: ignore[attr-defined]
    for name in dir(np):
        found = getattr(np, name)
        if name.startswith("_") or name in MISSING or isinstance(found, types.ModuleType):
            continue
        if isinstance(found, np.ufunc):
            found = Ufunc(found)
        elif callable(found) and not isinstance(found, type):
            found = _wrapped(name, found)
        elif name in ("ndarray", "matrix", "recarray"):
            continue
        setattr(cupy, name, found)
    cupy.ndarray, cupy.asarray, cupy.array = ndarray, _asarray, _array
    cupy.ascontiguousarray = lambda x, dtype=None: (
        x if x.flags.c_contiguous and dtype in (None, x.dtype) else ndarray.library.run(
            "copy", lambda v: np.array(v, dtype=dtype, order="C"), (x,), {}))  # fmt: skip
    for name in ("zeros", "ones", "empty", "full", "arange", "linspace", "eye", "tri", "identity"):
        setattr(cupy, name, _created(name))
    cupy.empty = lambda shape, dtype=float, order="C": ndarray.empty(shape, dtype)
    cupy.empty_like = lambda x, dtype=None, **o: ndarray.empty(
        o.get("shape") or x.shape, dtype or x.dtype
    )
    cupy.asnumpy = lambda x, **o: x.get() if isinstance(x, ndarray) else np.asarray(x)
    cupy.is_available = lambda: True
    cupy.get_array_module = lambda *xs: cupy if any(isinstance(x, ndarray) for x in xs) else np
    cupy.copyto = lambda y, x, **o: y.__setitem__(..., x)
    cupy.may_share_memory = lambda a, b: np.may_share_memory(a.values, b.values)
    cupy.shares_memory = cupy.may_share_memory
    cupy.from_dlpack = _from_dlpack

    cupy.random = types.SimpleNamespace(
        random=lambda shape, dtype=float: _asarray(_random.random(shape).astype(dtype)),
        standard_normal=lambda shape, dtype=float: _asarray(
            _random.standard_normal(shape).astype(dtype)
        ),
        randint=lambda low, high, shape: _asarray(_random.integers(low, high, shape)),
    )

    modules = {"cupy": cupy}
    for sub in ("linalg", "fft"):
        module = modules[f"cupy.{sub}"] = types.ModuleType(f"cupy.{sub}")
        base = getattr(np, sub)
        for name in dir(base):
            found = getattr(base, name)
            if callable(found) and not name.startswith("_") and name not in MISSING:
                setattr(module, name, found if isinstance(found, type) else _wrapped(name, found))
        setattr(cupy, sub, module)
    cupy.lib = types.ModuleType("cupy.lib")
    cupy.lib.stride_tricks = types.SimpleNamespace(as_strided=_as_strided)

    cuda = cupy.cuda = modules["cupy.cuda"] = types.ModuleType("cupy.cuda")
    cuda.Device, cuda.Stream, cuda.Event, cuda.Graph, cuda.MemoryPool = (
        Device,
        Stream,
        Event,
        Graph,
        MemoryPool,
    )
    cuda.__path__ = []  # type: ignore[attr-defined]
    modules["cupy.cuda.device"] = types.ModuleType("cupy.cuda.device")
    modules["cupy.cuda.device"].Device = Device
    Stream.null = NULL
    cuda.get_current_stream = current
    cuda.using_allocator = _using_allocator
    cuda.is_available = lambda: True
    cuda.get_elapsed_time = lambda begin, end: 1.0
    cuda.OutOfMemoryError = OutOfMemoryError
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda.runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: 13020,
        runtimeGetVersion=lambda: 13020,
        getDeviceCount=lambda: devices,
        getDevice=lambda: state.devices[-1],
        getDeviceProperties=lambda i: {
            "name": b"NumPy", "totalGlobalMem": 80 * 2**30, "multiProcessorCount": 132, "major": 9, "minor": 0
        },
    )  # fmt: skip
    cuda.nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 2))
    cuda.cublas = types.ModuleType("cublas")
    cuda.compiler = types.SimpleNamespace(
        CompileException=type("CompileException", (Exception,), {})
    )
    cupy.get_default_memory_pool = lambda: state.default_pool
    cupyx = modules["cupyx"] = types.ModuleType("cupyx")
    cupyx.__path__ = []  # type: ignore[attr-defined]
    cupyx.empty_pinned = lambda shape, dtype: np.empty(shape, dtype)
    scipy = modules["cupyx.scipy"] = types.ModuleType("cupyx.scipy")
    scipy.__path__ = []  # type: ignore[attr-defined]
    special = modules["cupyx.scipy.special"] = types.ModuleType("cupyx.scipy.special")
    special.erf = _wrapped("erf", np.vectorize(math.erf, otypes=[float]))
    special.erf = lambda x: ndarray.library.run("erf", _erf, (x,), {})
    cupyx.scipy, scipy.special = scipy, special
    return modules


_random = np.random.default_rng(0)


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[x.dtype])(x) if x.size else x.copy()


def _from_dlpack(x: Any, **options: Any) -> Any:
    if isinstance(x, ndarray):
        return x
    raise BufferError("only arrays of the device")


@contextlib.contextmanager
def _using_allocator(allocator: Any = None) -> Iterator[None]:
    state.allocator.append(allocator)
    try:
        yield
    finally:
        state.allocator.pop()


def forget() -> None:
    """As in a fresh process: nothing is known of CuPy."""
    from bpgpu.autodiff import namespace
    from bpgpu.backend import _backends, constants, cupy, cupy_arrays, libraries

    for found in (
        *(cupy.survey, cupy.trial, cupy.name, cupy._warn_of_several),
        *(cupy_arrays.namespace, constants._kept),
    ):
        found.cache_clear()
    _backends.pop("array_api_compat.cupy", None)
    libraries._namespaces.pop(ndarray, None)
    namespace._namespaces.pop(ndarray, None)


def install(put: Callable[[str, Any], None], *, products: bool = True, devices: int = 1) -> Any:
    """Make `import cupy` give the fake. `put(name, module)` sets an entry of `sys.modules` (None deletes it)."""
    state.__init__()  # type: ignore[misc]
    state.products = products
    remove(put)
    for name, module in make(devices).items():
        put(name, module)
    return sys.modules["cupy"]


def remove(put: Callable[[str, Any], None]) -> None:
    """Nothing of CuPy, or of what was built on it, is loaded."""
    for name in [n for n in sys.modules if n.startswith("array_api_compat.cupy")]:
        put(name, None)
    forget()


def installed(monkeypatch: Any, **options: Any) -> Iterator[Any]:
    """For a fixture: the package `cupy`, as long as a test runs, without kernels for it."""
    from bpgpu.kernels import registry

    def put(name: str, module: Any) -> None:
        if module is None:
            monkeypatch.delitem(sys.modules, name, raising=False)
        else:
            monkeypatch.setitem(sys.modules, name, module)

    monkeypatch.delenv("BPGPU_DEVICE", raising=False)
    monkeypatch.setitem(registry._kernels, "array_api_compat.cupy", {})
    monkeypatch.setitem(registry._FOLDERS, "array_api_compat.cupy", "bpgpu.kernels.cuda")
    yield install(put, **options)
    remove(put)


def pytest_configure(config: Any) -> None:
    """As a plugin (`pytest -p cupy_on_numpy -m gpu`): the tests that need a GPU run on the fake."""

    def put(name: str, module: Any) -> None:
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module

    install(put)
