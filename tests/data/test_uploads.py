"""Batches on their way to a GPU, on streams that do nothing until they are waited for."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import numpy as np
import pytest

import fake_cupy
from bpgpu.data import DataLoader
from bpgpu.device import Device

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20)


class Event:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.place = stream, len(stream.work)

    @property
    def done(self) -> bool:
        return self.stream.at >= self.place


class Stream:
    """Work in order, done as late as possible."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.work: list[Callable[[], None]] = []
        self.at = 0

    def record(self) -> Event:
        return Event(self)

    def wait_event(self, event: Event) -> None:
        self.work.append(lambda: event.stream.run(event.place))

    def run(self, place: int | None = None) -> None:
        place = len(self.work) if place is None else place
        while self.at < place:
            self.at += 1
            self.work[self.at - 1]()


class Array(fake_cupy.ndarray):
    def set(self, x: np.ndarray, stream: Stream) -> None:
        def copy() -> None:
            self.values[...] = x

        stream.work.append(copy)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """The stream that the reader of batches computes on, of a CuPy that is a stand-in."""
    cupy = fake_cupy.make()
    stream = Stream()
    cupy.cuda.Stream = Stream
    cupy.cuda.get_current_stream = lambda: stream
    cupy.empty = lambda shape, dtype: Array(np.full(shape, 99, dtype=dtype))
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = np.empty  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    return stream


def test_data_that_fit_move_to_the_device_once(
    current: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = DataLoader((X, Y), 6, device=Device("cuda", 1))
    assert (loader.resident, loader.prefetch) == (True, 0)
    assert fake_cupy.log == ["copy to 1", "copy to 1"]
    assert all(isinstance(x, fake_cupy.ndarray) and x.device == 1 for x in loader.data)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("prefetch", [None, 1, 5])
def test_data_that_do_not_fit_are_copied_batch_by_batch(
    current: Stream, shuffle: bool, prefetch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_cupy.Device, "mem_info", (100, 2**30))
    nothing = types.SimpleNamespace(used_bytes=lambda: 0, free_bytes=lambda: 0)
    monkeypatch.setattr("cupy.get_default_memory_pool", lambda: nothing)
    loader = DataLoader((X, Y), 6, shuffle, seed=3, device=Device("cuda", 0), prefetch=prefetch)
    assert (loader.resident, loader.prefetch) == (False, prefetch or 2)
    plain = DataLoader((X, Y), 6, shuffle, seed=3)
    for _ in range(2):
        for (x, y), expected in zip(loader, plain, strict=True):
            current.run()  # what is computed with the batch waits for its copy
            np.testing.assert_array_equal(x.values, expected[0])
            np.testing.assert_array_equal(y.values, expected[1])


def test_a_copy_waits_for_what_was_computed_before_its_memory_was_taken(current: Stream) -> None:
    from bpgpu.backend.upload import Uploader

    uploader, log = Uploader(0), []
    pinned = uploader.pin((X,))
    current.work.append(lambda: log.append("a step that may still read this memory"))
    ticket = uploader.start(pinned)
    uploader._stream.work.append(lambda: log.append("copied"))
    uploader._stream.run()
    assert log == ["a step that may still read this memory", "copied"]
    (x,) = uploader.finish(ticket)
    current.run()
    np.testing.assert_array_equal(x.values, X)
