"""CUDA graphs through CuPy: a stream and a pool of memory in which one step is warmed up, captured and replayed.

The pool serves this graph and nobody else. What a step frees while it is captured goes back to it, and the graph writes
there at each replay: in a common pool, others would have been given that memory.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Captured(NamedTuple):
    """What a stream has captured."""

    graph: Any
    result: Any
    """What the function returned: arrays whose values each launch writes."""
    grown: int
    """Bytes that the pool had to get from CUDA meanwhile; 0 after a warm-up."""


class Place:
    """A stream on a CUDA device, with memory of its own."""

    def __init__(self, device: int) -> None:
        import cupy

        self._cuda = cupy.cuda
        self._device = cupy.cuda.Device(device)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._given, self._done = (cupy.cuda.Event(disable_timing=True) for _ in range(2))
        self._pool = cupy.cuda.MemoryPool()

    @contextlib.contextmanager
    def entered(self, *, own_memory: bool) -> Iterator[None]:
        """Work goes to the stream: after all that the stream of now was given, and before what it will be given.

        *Parameters* `own_memory`: new arrays are made in the pool of the graph.
        """
        cuda, stream = self._cuda, self._stream
        with self._device:
            outer = cuda.get_current_stream()
            stream.wait_event(outer.record(self._given))
            memory = (
                cuda.using_allocator(self._pool.malloc) if own_memory else contextlib.nullcontext()
            )
            try:
                with stream, memory:
                    yield
            finally:
                outer.wait_event(stream.record(self._done))

    def captured(self, f: Callable[[], Any]) -> Captured:
        """The launches that `f()` makes, as a graph; none of them runs. To be called in `entered(own_memory=True)`.

        *Raises* what `f` raises. CuPy raises `RuntimeError` where the host would wait or copy, and
        `NotImplementedError` for libraries of CUDA that it does not capture.
        """
        gc.collect()  # what is gone, but for a cycle, gives its memory back to the pool
        before = self._pool.total_bytes()
        collecting = gc.isenabled()
        gc.disable()  # what it finds may free memory of CUDA, which a capture does not take
        try:
            self._stream.begin_capture()
            try:
                result = f()
            except BaseException:
                with contextlib.suppress(Exception):  # a refused call has ended it already
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        finally:
            if collecting:
                gc.enable()
        return Captured(graph, result, self._pool.total_bytes() - before)

    def launch(self, graph: Any) -> None:
        """Run a graph, in the stream."""
        graph.launch(self._stream)


def scalar(value: float) -> Any:
    """A number in the memory of the device of now."""
    import cupy

    return cupy.full((), value, dtype=cupy.float64)


def owner_of(x: Any) -> Any:
    """What holds the memory that an array looks at."""
    base = getattr(x, "base", None)
    while base is not None:
        x, base = base, getattr(base, "base", None)
    return x
