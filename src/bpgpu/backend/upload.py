"""Batches on their way to a CUDA device while it computes.

A copy runs beside kernels only from pinned memory and on a stream of its own. Two things could go wrong and do not:

- CuPy's pool hands freed memory out again in the order of one stream. So the memory of a batch is taken in the
  reader's stream, and the copy waits for what that stream was given before: earlier batches in the same place are read
  to their end first.
- A pinned buffer is written again only after the copy out of it is done.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bpgpu import tree as trees


class Ticket(NamedTuple):
    """A batch that is being copied."""

    batch: Any
    done: Any
    """An event: the copy is complete."""
    pinned: Any
    """The memory that is copied from, to be kept until then."""


class Uploader:
    """Copies of host arrays to the CUDA device `index`."""

    def __init__(self, index: int) -> None:
        import cupy

        self._cupy = cupy
        self._device = cupy.cuda.Device(index)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._last: list[Ticket] = []

    def pin(self, batch: Any) -> Any:
        """The batch in pinned memory; called by the thread that prepares it."""
        import cupyx

        def pinned(x: Any) -> Any:
            y = cupyx.empty_pinned(x.shape, x.dtype)
            y[...] = x
            return y

        with self._device:
            return trees.map(pinned, batch)

    def start(self, pinned: Any) -> Ticket:
        """Begin the copy of a pinned batch; does not wait."""
        cupy, stream = self._cupy, self._stream
        with self._device:
            batch = trees.map(lambda x: cupy.empty(x.shape, x.dtype), pinned)
            stream.wait_event(cupy.cuda.get_current_stream().record())
            trees.map(lambda y, x: y.set(x, stream=stream), batch, pinned)
            return Ticket(batch, stream.record(), pinned)

    def finish(self, ticket: Ticket) -> Any:
        """The batch, for use in the current stream; does not wait on the host."""
        with self._device:
            self._cupy.cuda.get_current_stream().wait_event(ticket.done)
        self._last = [t for t in self._last if not t.done.done] + [ticket]
        return ticket.batch
