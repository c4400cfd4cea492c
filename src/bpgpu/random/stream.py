"""The default keys of a thread: what layers draw from when they are given no key."""

from __future__ import annotations

import os
import threading
from typing import Any

from bpgpu.autodiff.state import write
from bpgpu.random.keys import Array, Key, RandomError, checked_count, key, key_of_words
from bpgpu.random.threefry import blocks

AHEAD = 64
"""So many keys are drawn at a time: on arrays, one costs as much as all."""


class _Stream(threading.local):
    """One to a thread: a seed and how many keys were taken.

    Both are written as state is, so that a second run of a function (`checkpoint`) takes the same keys again. `ready`
    are keys drawn ahead: of which seed, from where on, and their words.
    """

    seed: int | None = None
    taken: int = 0
    ready: tuple[int, int, list[tuple[int, int]]] = (0, 0, [])


_stream = _Stream()


def seed(value: int | None = None) -> int:
    """Start this thread's stream of keys anew; returns the seed.

    *Parameters* `value` is an integer in [0, 2**64); without it, the operating system gives one.

    The stream serves this thread only: another thread calls `seed` itself, or begins with a seed of the operating
    system, as every thread does that never called it. A forked process goes on with a copy of the stream.

    *Raises* `DtypeError` if the seed is no integer, `RandomError` if it does not fit into 64 bits.

    >>> seed(0)
    0
    """
    if value is None:
        value = int.from_bytes(os.urandom(8), "little")
    key(value)  # raises if it is none
    _set(int(value), 0)
    return int(value)


def initial_seed() -> int:
    """The seed of this thread's stream: what `seed` must be given to see the same numbers again."""
    if _stream.seed is None:
        return seed()
    return _stream.seed


def next_key(device: Any = None, *, like: Array | None = None) -> Key:
    """The next key of this thread's stream; on the host, or where `device` or the array `like` says.

    Key `i` after `seed(s)` is child `i` of `split(key(s), n)`.

    Under a compiler that records Python (`jax.jit`, `torch.compile`), this is a constant of the recording. Code that is
    to draw anew at each call takes its key as an argument or keeps it as state.

    >>> from bpgpu.random import key, split
    >>> _ = seed(0)
    >>> bool((next_key() == split(key(0))[0]).all())
    True
    """
    start, taken = initial_seed(), _stream.taken
    seed, first, words = _stream.ready
    if seed != start or not 0 <= taken - first < len(words):
        x0, x1 = blocks(key(start), AHEAD, taken)
        words = [
            (a & 0xFFFFFFFF, b & 0xFFFFFFFF) for a, b in zip(x0.tolist(), x1.tolist(), strict=True)
        ]
        _stream.ready = (start, taken, words)
        first = taken
    made = key_of_words(*words[taken - first], device, like)
    write(_stream, "taken", taken + 1)
    return made


def get_state() -> dict[str, int]:
    """This thread's stream as plain numbers, for a checkpoint: its seed, and how many keys were taken."""
    return {"seed": initial_seed(), "taken": _stream.taken}


def set_state(state: dict[str, int]) -> None:
    """Go on where `get_state` was called.

    *Raises* `RandomError` if `state` lacks an entry or holds one that is out of range.

    >>> _ = seed(0)
    >>> state = get_state()
    >>> first = next_key()
    >>> set_state(state)
    >>> bool((next_key() == first).all())
    True
    """
    if set(state) != {"seed", "taken"}:
        raise RandomError(f"state: expected the entries seed and taken, got {sorted(state)}")
    taken = checked_count(state["taken"], "taken")
    seed(state["seed"])
    _set(int(state["seed"]), taken)


def _set(value: int, taken: int) -> None:
    write(_stream, "seed", value)
    write(_stream, "taken", taken)
