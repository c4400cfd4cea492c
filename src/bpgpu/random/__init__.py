"""Random numbers that are the same on every device: functions of a key, and a default stream of keys.

A key is 64 bits, an int32 array of shape (2,). A function draws from the key that it is given and from nothing else, so
the same key gives the same numbers in every array library and on every device. Use a key once: `split` it for more.
"""

from bpgpu.random.derive import advance, fold_in, split
from bpgpu.random.draws import bits, mask, mask_probability, permutation, randint, uniform
from bpgpu.random.gaussian import normal
from bpgpu.random.keys import Key, RandomError, key
from bpgpu.random.stream import get_state, initial_seed, next_key, seed, set_state

__all__ = [
    "Key",
    "RandomError",
    "advance",
    "bits",
    "fold_in",
    "get_state",
    "initial_seed",
    "key",
    "mask",
    "mask_probability",
    "next_key",
    "normal",
    "permutation",
    "randint",
    "seed",
    "set_state",
    "split",
    "uniform",
]
