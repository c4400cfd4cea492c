"""Batches that are prepared while the one before them is used."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from bpgpu.backend.upload import Uploader

_END = object()


def ahead(batches: Iterator[Any], count: int, uploader: Uploader | None = None) -> Iterator[Any]:
    """The same batches, up to `count` of them made in a thread before they are asked for.

    With an `uploader` the thread puts them into pinned memory, and their copies to the device run while it computes.
    An exception of the thread is raised where its batch would have come. The thread ends with the iterator.
    """
    if uploader is not None:
        batches = map(uploader.pin, batches)
    made: queue.Queue[Any] = queue.Queue(maxsize=count)
    stop = threading.Event()
    thread = threading.Thread(
        target=_produce, args=(batches, made, stop), name="bpgpu-batches", daemon=True
    )
    thread.start()
    try:
        if uploader is None:
            while (made_one := made.get()) is not _END:
                yield _value(made_one)
        else:
            yield from _uploaded(made, count, uploader)
    finally:
        stop.set()
        while not made.empty():  # the thread may wait for room
            made.get_nowait()
        thread.join()


def _produce(batches: Iterator[Any], made: queue.Queue[Any], stop: threading.Event) -> None:
    try:
        for batch in batches:
            made.put((batch, None))
            if stop.is_set():
                return
    except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
        made.put((None, error))
    made.put(_END)


def _value(made_one: tuple[Any, BaseException | None]) -> Any:
    batch, error = made_one
    if error is not None:
        raise error
    return batch


def _uploaded(made: queue.Queue[Any], count: int, uploader: Uploader) -> Iterator[Any]:
    """Copies are begun as soon as batches are there, and given out in order."""
    under_way: deque[tuple[Any, BaseException | None]] = deque()
    ended = False
    while True:
        while not ended and len(under_way) <= count and (not under_way or not made.empty()):
            made_one = made.get()
            if made_one is _END:
                ended = True
            else:
                batch, error = made_one
                under_way.append((None if error else uploader.start(batch), error))
        if not under_way:
            return
        yield uploader.finish(_value(under_way.popleft()))
