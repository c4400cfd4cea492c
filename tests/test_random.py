"""Random numbers: the published words, the same bits in every library, the right distributions, and errors in words."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as host
import numpy as np
import pytest
from scipy import special, stats

import bpgpu
from bpgpu import random
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import DtypeError, ShapeError
from bpgpu.random import RandomError, draws, stream, threefry
from conftest import load

SEEDS = (0, 1, 123456789, 2**40 + 7, 2**64 - 1)
SHAPES: tuple[Any, ...] = ((), (0,), (1,), 5, (3, 7), (0, 4), (2, 1, 33001))
NORMAL_ERROR = {"float32": 1e-6, "float64": 2e-14}  # relative, of the quantile
COMPILED_ERROR = 1e-6  # relative, where a compiler fuses products and sums


@pytest.fixture(
    params=["numpy", "strict", "torch", "jax", pytest.param("cupy", marks=pytest.mark.gpu)]
)
def xp(request: pytest.FixtureRequest) -> Any:
    """The namespace of each array library in turn, JAX among them."""
    if request.param == "jax":
        return pytest.importorskip("jax.numpy")
    return load(request.param)


def key_in(xp: Any, seed: int) -> Any:
    """The key of a seed as an array of the library."""
    return xp.asarray(random.key(seed))


def equal(found: Any, expected: np.ndarray) -> None:
    """Same shape, same dtype, same bits."""
    found = bpgpu.to_numpy(found)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


DRAWS: dict[str, Callable[[Any], Any]] = {
    "bits": lambda k: random.bits(k, (3, 35)),
    "bits 0-d": lambda k: random.bits(k, ()),
    "bits empty": lambda k: random.bits(k, (0, 2)),
    "bits, several tiles": lambda k: random.bits(k, (70001,)),
    "uniform": lambda k: random.uniform(k, (1001,)),
    "uniform in [-3, 5)": lambda k: random.uniform(k, (1001,), low=-3, high=5),
    "uniform float64": lambda k: random.uniform(k, (1001,), "float64"),
    "normal": lambda k: random.normal(k, (1001,)),
    "normal float64": lambda k: random.normal(k, (1001,), "float64"),
    "randint": lambda k: random.randint(k, (1001,), -7, 10**9),
    "mask of 16 bits": lambda k: random.mask(k, (7, 33), 0.9)[0],
    "mask of 32 bits": lambda k: random.mask(k, (7, 33), 0.9999)[0],
    "mask, several tiles": lambda k: random.mask(k, (300001,), 0.25)[0],
    "mask of nothing": lambda k: random.mask(k, (3,), 0.0)[0],
    "mask of all": lambda k: random.mask(k, (3,), 1.0)[0],
    "mask empty": lambda k: random.mask(k, (0,), 0.5)[0],
    "split": lambda k: random.split(k, 3)[2],
    "fold_in": lambda k: random.fold_in(k, 2**31 + 5),
    "fold_in of an array": lambda k: random.fold_in(k, k[1:2]),
    "advance": random.advance,
}


# ---- the words


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_block_function_gives_the_vectors_of_random123(
    xp: Any, counter: tuple[int, int], key: tuple[int, int], words: tuple[int, int]
) -> None:
    signed = np.asarray([*key, *counter], dtype=np.uint32).view(np.int32)
    arrays = [xp.asarray(signed[i : i + 1]) for i in range(4)]
    for found, expected in zip(threefry.threefry2x32(*arrays), words, strict=True):
        assert int(found[0]) & 0xFFFFFFFF == expected


def test_block_function_on_unsigned_words_is_the_same() -> None:
    x = np.arange(100, dtype=np.uint32) * np.uint32(123456789)
    signed = threefry.threefry2x32(*(x[i::4].view(np.int32) for i in range(4)))
    unsigned = threefry.threefry2x32(*(x[i::4] for i in range(4)))
    for a, b in zip(signed, unsigned, strict=True):
        equal(a.view(np.uint32), b)


@pytest.fixture
def jax() -> Any:
    """JAX in the mode of its generator that is promised, whatever its default."""
    jax = pytest.importorskip("jax")
    with jax.threefry_partitionable(True):
        yield jax


def jax_key(jax: Any, seed: int) -> Any:
    words = np.asarray([seed >> 32, seed & 0xFFFFFFFF], dtype=np.uint32)
    return jax.random.wrap_key_data(jax.numpy.asarray(words), impl="threefry2x32")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_words_and_uniform_numbers_are_those_of_jax(jax: Any, seed: int, shape: Any) -> None:
    key, theirs = random.key(seed), jax_key(jax, seed)
    equal(
        random.bits(key, shape),
        np.asarray(jax.random.bits(theirs, shape, "uint32")).view(np.int32),
    )
    for dtype in ("float32", "float64"):
        equal(
            random.uniform(key, shape, dtype), np.asarray(jax.random.uniform(theirs, shape, dtype))
        )


def test_split_and_fold_in_are_those_of_jax(jax: Any) -> None:
    def data(key: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(key)).view(np.int32)

    for seed in SEEDS:
        key, theirs = random.key(seed), jax_key(jax, seed)
        equal(np.stack(random.split(key, 5)), data(jax.random.split(theirs, 5)))
        for i in (0, 1, 2**31, 2**32 - 1):
            equal(random.fold_in(key, i), data(jax.random.fold_in(theirs, i)))
            equal(random.fold_in(key, np.asarray(i)), random.fold_in(key, i))


def test_key_is_that_of_jax(jax: Any) -> None:
    with jax.enable_x64(True):
        for seed in (0, 7, 2**31 + 5, 2**40 + 7):
            expected = np.asarray(jax.random.key_data(jax.random.key(seed, impl="threefry2x32")))
            equal(random.key(seed), expected.view(np.int32))


def test_uniform_in_an_interval_is_that_of_jax_but_for_rounding(jax: Any) -> None:
    key, theirs = random.key(3), jax_key(jax, 3)
    for dtype, digits in (("float32", 2**-23), ("float64", 2**-52)):
        expected = jax.random.uniform(theirs, (10001,), dtype, minval=-0.3, maxval=2.5)
        found = random.uniform(key, (10001,), dtype, -0.3, 2.5)
        np.testing.assert_allclose(found, np.asarray(expected), rtol=0, atol=2.5 * digits)


# ---- the same everywhere


@pytest.mark.parametrize("draw", DRAWS)
def test_same_bits_in_every_library(xp: Any, draw: str) -> None:
    for seed in (5, 2**63 + 11):
        equal(DRAWS[draw](key_in(xp, seed)), DRAWS[draw](random.key(seed)))


def test_results_are_of_the_library_and_on_the_device_of_the_key(xp: Any) -> None:
    key = key_in(xp, 1)
    for draw in (*DRAWS.values(), lambda k: random.permutation(k, 9)):
        result = draw(key)
        assert namespace_of(result) is namespace_of(key)
        assert result.device == key.device


@pytest.mark.parametrize("draw", DRAWS)
def test_same_bits_inside_jax_jit_without_64_bit_integers(jax: Any, draw: str) -> None:
    if "float64" in draw:
        pytest.skip("JAX has no float64 then")
    expected = DRAWS[draw](random.key(2**63 + 11))
    with jax.enable_x64(False):
        found = np.asarray(jax.jit(DRAWS[draw])(key_in(jax.numpy, 2**63 + 11)))
    if draw in ("normal", "uniform in [-3, 5)"):
        np.testing.assert_allclose(found, expected, rtol=COMPILED_ERROR, atol=COMPILED_ERROR)
    else:
        equal(found, expected)


@pytest.mark.filterwarnings("ignore")  # of torch's own
@pytest.mark.parametrize("draw", DRAWS)
def test_torch_compile_takes_each_function_whole(draw: str) -> None:
    torch = pytest.importorskip("torch")
    key = key_in(load("torch"), 2**63 + 11)
    whole = torch.compile(DRAWS[draw], fullgraph=True, backend="eager")
    equal(whole(key), DRAWS[draw](random.key(2**63 + 11)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own
def test_same_bits_inside_torch_compile() -> None:
    torch = pytest.importorskip("torch")
    key = key_in(load("torch"), 2**63 + 11)
    names = ("mask of 16 bits", "uniform", "advance")
    whole = torch.compile(lambda k: tuple(DRAWS[name](k) for name in names), fullgraph=True)
    for name, found in zip(names, whole(key), strict=True):
        equal(found, DRAWS[name](random.key(2**63 + 11)))


def test_key_is_data_to_a_compiler(jax: Any) -> None:
    """One program draws a new mask at each step, as a dropout layer does: its key is an argument."""
    traces = []

    @jax.jit
    def step(key: Any) -> Any:
        traces.append(None)
        return random.mask(key, (64,), 0.5)[0], random.advance(key)

    key, here = key_in(jax.numpy, 0), random.key(0)
    for _ in range(3):
        found, key = step(key)
        equal(found, random.mask(here, (64,), 0.5)[0])
        here = random.advance(here)
    assert len(traces) == 1


def test_no_warning_where_words_wrap(xp: Any) -> None:
    key = xp.asarray(np.asarray([2**31 - 1, -1], dtype=np.int32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in (random.advance, random.split, DRAWS["randint"], DRAWS["normal"]):
            draw(key)


def test_words_do_not_depend_on_the_shape_or_on_tiles() -> None:
    key = random.key(9)
    whole = random.bits(key, (100_000,))
    equal(random.bits(key, (1000,)), whole[:1000])
    equal(random.bits(key, (250, 400)), whole.reshape(250, 400))
    x0, x1 = threefry.blocks(key, 70_000, 30_000)
    equal(x0 ^ x1, whole[30_000:])


def test_counters_go_on_beyond_32_bits(jax: Any, xp: Any) -> None:
    start = 2**32 - 3
    key = key_in(xp, 4)
    x0, x1 = threefry.blocks(key, 6, start)
    for i in range(6):
        high, low = divmod(start + i, 2**32)
        counter = (np.asarray([w], dtype=np.uint32).view(np.int32) for w in (high, low))
        a, b = threefry.threefry2x32(key[0:1], key[1:2], *(xp.asarray(c) for c in counter))
        assert (int(a[0]), int(b[0])) == (int(x0[i]), int(x1[i]))
    equal(random.fold_in(key, 2**32 + 1), np.asarray([int(x0[4]), int(x1[4])], dtype=np.int32))


def test_a_traced_array_gives_its_library_and_takes_a_mask() -> None:
    def loss(x: Any) -> Any:
        kept, used = random.mask(random.next_key(like=x), x.shape, 0.75)
        return bpgpu.array_namespace(x).sum(x * kept / used)

    random.seed(8)
    found = bpgpu.grad(loss)(np.ones((4, 5)))
    equal(found, random.mask(random.split(random.key(8))[0], (4, 5), 0.75)[0] / 0.75)


# ---- distributions


def chi_square(values: np.ndarray, bins: int) -> float:
    """The probability of so uneven a count of integers in [0, bins), if all are equally likely."""
    return float(stats.chisquare(np.bincount(values, minlength=bins)).pvalue)


def test_words_and_their_neighbours_are_even() -> None:
    pvalues = []
    for seed in range(20):
        words = random.bits(random.key(seed), (50_000,)).view(np.uint32)
        pairs = (words[:-1:2] >> 27 << 5) | (words[1::2] >> 27)
        pvalues += [chi_square(words >> shift & 255, 256) for shift in (0, 8, 16, 24)]
        pvalues += [chi_square(pairs, 1024)]
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-3


def test_keys_of_a_sequence_are_unrelated() -> None:
    key, rows = random.key(1), []
    for _ in range(2000):
        rows.append(random.mask(key, (64,), 0.5)[0])
        key = random.advance(key)
    counts = np.stack(rows).astype(np.int64)
    agree = (counts[1:] == counts[:-1]).mean()
    assert abs(agree - 0.5) < 5 / math.sqrt(4 * counts.size)
    assert abs(counts.mean() - 0.5) < 5 / math.sqrt(4 * counts.size)
    assert np.abs(np.corrcoef(counts.T) - np.eye(64)).max() < 5.5 / math.sqrt(2000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_are_uniform(dtype: str) -> None:
    u = random.uniform(random.key(2), (100_000,), dtype)
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.astype(np.float64), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (100, 101),
        (1, 1 + 2**-22),
        (-1, 0),
        (0, 1e-30),
        (-3e38, 3e37),
        (2**24, 2**24 + 4),
        (-5, -1),
    ],
)
def test_uniform_never_reaches_its_upper_bound(xp: Any, low: float, high: float) -> None:
    u = bpgpu.to_numpy(random.uniform(key_in(xp, 3), (200_000,), "float32", low, high))
    assert np.float32(low) <= u.min()
    assert u.max() < np.float32(high)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "largest"),
    [
        ("float32", 0, 1, 1 - 2**-23),
        ("float32", 100, 101, np.nextafter(np.float32(101), np.float32(0))),
        ("float32", -2, -1, np.nextafter(np.float32(-1), np.float32(-2))),
        ("float32", -(2.0**-100), 0, -(2.0**-123)),
        ("float64", 0, 1, 1 - 2**-52),
        ("float64", 100, 101, math.nextafter(101, 0)),
    ],
)
def test_uniform_of_the_largest_word_is_below_its_upper_bound(
    dtype: str, low: float, high: float, largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones, zeros = np.full(1, -1, dtype=np.int32), np.zeros(1, dtype=np.int32)
    second = zeros if dtype == "float32" else ones
    monkeypatch.setattr(draws, "draw", lambda key, n, values: values(host, ones, second))
    assert random.uniform(random.key(0), 1, dtype, low, high)[0] == largest
    monkeypatch.setattr(draws, "draw", lambda key, n, values: values(host, zeros, zeros))
    assert random.uniform(random.key(0), 1, dtype, low, high)[0] == low


def test_normal_numbers_are_the_quantiles_of_the_words() -> None:
    words = random.bits(random.key(4), (100_000,)).astype(np.float64)
    expected = special.ndtri((words + 0.5) / 2**32 + 0.5)
    found = random.normal(random.key(4), (100_000,))
    np.testing.assert_allclose(found, expected, rtol=NORMAL_ERROR["float32"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_right_in_both_tails_and_in_the_middle(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words are chosen, so that all branches are met: probabilities from 2**-33 or 2**-65 on."""
    from bpgpu.random import gaussian

    high = np.asarray(
        [
            -(2**31),
            -(2**31) + 1,
            -(2**31) + 5000,
            -(2**20),
            -1,
            0,
            1,
            2**20,
            2**30,
            1_825_361_100,
            2**31 - 2,
            2**31 - 1,
        ],
        dtype=np.int32,
    )
    low = np.asarray([0, 1, 2**31 - 1, -(2**31), -2, -1], dtype=np.int32)
    x0, x1 = (np.ravel(x) for x in np.meshgrid(high, low))
    if dtype == "float32":
        x1 = np.zeros_like(x0)
    monkeypatch.setattr(gaussian, "draw", lambda key, n, values: values(host, x0, x1))
    found = random.normal(random.key(0), x0.shape, dtype)
    bits = [int(a) * 2**32 + (int(b) & 0xFFFFFFFF) for a, b in zip(x0, x1, strict=True)]
    if dtype == "float32":
        bits = [int(a) for a in x0]
    scale = 2**33 if dtype == "float32" else 2**65
    tails = [(scale // 2 - abs(2 * b + 1)) / scale for b in bits]  # integers until the division
    middles = [abs(2 * b + 1) / scale for b in bits]
    expected = [
        special.ndtri(t) if t < 0.4 else -math.sqrt(2) * special.erfinv(2 * m)
        for t, m in zip(tails, middles, strict=True)
    ]
    expected = np.copysign(expected, [1.0 if b >= 0 else -1.0 for b in bits])
    np.testing.assert_allclose(found, expected, rtol=NORMAL_ERROR[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_normal(dtype: str) -> None:
    z = random.normal(random.key(6), (100_000,), dtype).astype(np.float64)
    assert stats.kstest(z, "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("low", "high"), [(0, 10), (-3, 4), (0, 1), (-(2**31), 2**31), (5, 2**31), (0, 3 * 2**29)]
)
def test_randint_is_even_and_in_range(low: int, high: int) -> None:
    x = random.randint(random.key(7), (50_000,), low, high).astype(np.int64)
    assert low <= x.min()
    assert x.max() < high
    bins = min(high - low, 96)
    if bins > 1:
        assert chi_square((x - low) * bins // (high - low), bins) > 1e-3


def test_randint_is_the_product_of_64_bits() -> None:
    key = random.key(8)
    x0, x1 = (x.astype(np.int64) & 0xFFFFFFFF for x in threefry.blocks(key, 2000))
    for low, high in ((0, 10), (-7, 2**31 - 1), (-(2**31), 2**31 - 1), (0, 65537)):
        expected = [
            low + ((int(a) << 32 | int(b)) * (high - low) >> 64)
            for a, b in zip(x0, x1, strict=True)
        ]
        equal(random.randint(key, (2000,), low, high), np.asarray(expected, dtype=np.int32))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000])
def test_permutation_holds_each_number_once(xp: Any, n: int) -> None:
    found = random.permutation(key_in(xp, 2**63 + 3), n)
    assert xp.isdtype(found.dtype, "signed integer")
    equal(np.sort(bpgpu.to_numpy(found)), np.arange(n))
    equal(found, random.permutation(random.key(2**63 + 3), n))


def test_every_order_is_equally_likely() -> None:
    orders = [random.permutation(k, 4) for k in random.split(random.key(0), 4800)]
    codes = np.stack(orders) @ (4 ** np.arange(4))
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_permutation_draws_again_if_two_numbers_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def tied_at_first(key: Any, n: int, start: int) -> tuple[Any, Any]:
        starts.append(start)
        words = np.asarray([3, 1, 3] if start == 0 else [3, 1, 2], dtype=np.int32)
        return words, np.zeros_like(words)

    monkeypatch.setattr(draws, "blocks", tied_at_first)
    equal(random.permutation(random.key(0), 3), np.asarray([1, 2, 0]))
    assert starts == [0, 3]


# ---- masks


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.75, 0.1, 0.01, 0.001, 1e-6, 0.9995, 1 / 3])
def test_mask_keeps_as_many_as_it_says(keep: float) -> None:
    kept, used = random.mask(random.key(11), (400_000,), keep)
    assert abs(used - keep) <= 1e-3 * min(keep, 1 - keep)
    deviation = math.sqrt(used * (1 - used) / kept.size)
    assert abs(kept.mean() - used) < 5 * deviation


def test_mask_layout_is_the_documented_one() -> None:
    key = random.key(12)
    for n in (1, 2, 3, 4, 5, 130, 131_077):
        x0, x1 = (x.view(np.uint32) for x in threefry.blocks(key, -(-n // 4)))
        halves = np.concat([x0 >> 16, x0 & 0xFFFF, x1 >> 16, x1 & 0xFFFF]).astype(np.int64)
        # the halves are compared as signed numbers
        expected = ((halves + 2**15) % 2**16 < 58982)[:n]
        equal(random.mask(key, (n,), 0.9)[0], expected)
        x0, x1 = (x.astype(np.int64) for x in threefry.blocks(key, -(-n // 2)))
        expected = (np.concat([x0, x1]) + 2**31 < round(0.9999 * 2**32))[:n]
        equal(random.mask(key, (n,), 0.9999)[0], expected)


def test_probabilities_0_and_1_are_exact() -> None:
    for keep in (0, 1, 0.0, 1.0, True, np.float32(1)):
        kept, used = random.mask(random.key(0), (3, 5), keep)
        equal(kept, np.full((3, 5), bool(keep)))
        assert used == keep


def test_width_and_probability_of_masks() -> None:
    assert random.mask_probability(0.5) == (16, 0.5)
    assert random.mask_probability(0.9) == (16, 58982 / 65536)
    assert random.mask_probability(0.001)[0] == 32
    assert random.mask_probability(1 - 0.001)[0] == 32
    assert random.mask_probability(1e-300) == (32, 2**-32)
    assert random.mask_probability(math.nextafter(1, 0)) == (32, 1 - 2**-32)
    for keep in np.linspace(0.0001, 0.9999, 2001):
        _, used = random.mask_probability(keep)
        assert abs(used - keep) <= 1e-3 * min(keep, 1 - keep)


# ---- the default stream


def test_seed_starts_the_stream_anew() -> None:
    children = random.split(random.key(77), 70)  # more than are drawn ahead
    for _ in range(2):
        assert random.seed(77) == 77
        assert random.initial_seed() == 77
        for child in children:
            equal(random.next_key(), child)


def test_state_of_the_stream_can_be_restored() -> None:
    random.seed(5)
    random.next_key()
    state = random.get_state()
    assert state == {"seed": 5, "taken": 1}
    expected = [random.next_key() for _ in range(3)]
    random.seed(6)
    random.set_state(state)
    for key in expected:
        equal(random.next_key(), key)


def test_unseeded_threads_differ_and_tell_their_seeds() -> None:
    found: list[tuple[int, Any]] = []

    def work() -> None:
        key = random.next_key()
        found.append((random.initial_seed(), key))

    random.seed(1)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({seed for seed, _ in found}) == 8
    for seed, key in found:
        equal(key, random.split(random.key(seed))[0])
    equal(
        random.next_key(), random.split(random.key(1))[0]
    )  # the stream of this thread is untouched


def test_seed_without_a_number_asks_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda n: bytes(range(n)))
    assert random.seed() == 0x0706050403020100


def test_next_key_is_made_where_it_is_asked_for(xp: Any) -> None:
    random.seed(3)
    like = xp.asarray([1.0])
    key = random.next_key(like=like)
    assert namespace_of(key) is namespace_of(like)
    assert key.device == like.device
    random.seed(3)
    equal(key, random.next_key(bpgpu.device("cpu")))
    random.seed(3)
    equal(key, random.next_key("cpu"))


def test_a_key_that_cannot_be_placed_is_not_taken() -> None:
    random.seed(3)
    with pytest.raises(bpgpu.errors.DeviceError):
        random.next_key("tpu")
    assert random.get_state()["taken"] == 0


@pytest.mark.gpu
@pytest.mark.parametrize("draw", DRAWS)
def test_same_bits_on_cuda(draw: str) -> None:
    equal(DRAWS[draw](random.key(2**63 + 11, "cuda")), DRAWS[draw](random.key(2**63 + 11)))


# ---- errors


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda k: random.key(1.5), DtypeError, "seed: expected an integer, got 1.5 of float"),
        (lambda k: random.key(True), DtypeError, "seed: expected an integer, got True of bool"),
        (lambda k: random.key("1"), DtypeError, "seed: expected an integer, got '1' of str"),
        (lambda k: random.key(-1), RandomError, r"seed: expected an integer in \[0, 2\*\*64\), got -1; take it modulo"),
        (lambda k: random.key(2**64), RandomError, "got 18446744073709551616; take it modulo"),
        (lambda k: random.seed(2.0), DtypeError, "seed: expected an integer, got 2.0"),
        (lambda k: random.seed(-2), RandomError, "seed: expected an integer in"),
        (lambda k: random.bits(0, (2,)), DtypeError, r"key: expected an int32 array of shape \(2,\), got int; make"),
        (lambda k: random.bits([0, 1], (2,)), DtypeError, "got list; make keys with bpgpu.random.key"),
        (lambda k: random.bits(np.zeros(2), (2,)), DtypeError, r"got an array of float64 of shape \(2,\)"),
        (lambda k: random.bits(np.zeros(2, dtype=np.int64), 2), DtypeError, "got an array of int64"),
        (lambda k: random.bits(np.stack([k, k]), 2), ShapeError, r"expected one key, an array .*\(2, 2\)"),
        (lambda k: random.bits(k, (2, -1)), ShapeError, r"shape: expected sizes of at least 0, got \(2, -1\)"),
        (lambda k: random.uniform(k, -1), ShapeError, r"at least 0, got \(-1,\)"),
        (lambda k: random.normal(k, (2.5,)), ShapeError, r"sizes as a tuple of integers, got \(2.5,\)"),
        (lambda k: random.mask(k, None, 0.5), ShapeError, "sizes as a tuple of integers, got None"),
        (lambda k: random.mask(k, (2,), 1.5), RandomError, r"keep: expected a probability in \[0, 1\], got 1.5"),
        (lambda k: random.mask(k, (2,), -0.1), RandomError, "got -0.1"),
        (lambda k: random.mask(k, (2,), math.nan), RandomError, "got nan"),
        (lambda k: random.mask(k, (2,), "x"), RandomError, r"probability in \[0, 1\], got 'x'"),
        (lambda k: random.mask(k, (2,), None), RandomError, r"probability in \[0, 1\], got None"),
        (lambda k: random.split(k, -1), RandomError, "n: expected at least 0, got -1"),
        (lambda k: random.split(k, 2.0), DtypeError, "n: expected an integer, got 2.0"),
        (lambda k: random.permutation(k, -3), RandomError, "n: expected at least 0, got -3"),
        (lambda k: random.permutation(k, [1, 2]), DtypeError, "n: expected an integer"),
        (lambda k: random.fold_in(k, -1), RandomError, r"data: expected an integer in \[0, 2\*\*64\), got -1"),
        (lambda k: random.fold_in(k, 1.0), DtypeError, "data: expected an integer or an integer array of one element"),
        (lambda k: random.fold_in(k, np.ones(1)), DtypeError, "data: expected an integer or an integer array"),
        (lambda k: random.fold_in(k, k), ShapeError, r"data: expected one element, got the shape \(2,\)"),
        (lambda k: random.uniform(k, 2, "float16"), DtypeError, "got float16; draw float32 and cast"),
        (lambda k: random.normal(k, 2, np.int32), DtypeError, "dtype: expected float32 or float64, got int32"),
        (lambda k: random.uniform(k, 2, low=1, high=1), RandomError, "low < high, got 1.0 and 1.0"),
        (lambda k: random.uniform(k, 2, low=1, high=1 + 1e-9), RandomError, "numbers of float32 with low < high"),
        (lambda k: random.uniform(k, 2, low=0, high=math.inf), RandomError, "finite numbers of float32"),
        (lambda k: random.uniform(k, 2, low=0, high=1e39), RandomError, "numbers that float32 can hold"),
        (lambda k: random.uniform(k, 2, low=-3e38, high=3e38), RandomError, "not further apart than its largest"),
        (lambda k: random.uniform(k, 2, "float64", -1.7e308, 1.7e308), RandomError, "not further apart|finite numbers"),
        (lambda k: random.uniform(k, 2, low="a"), RandomError, "got 'a' and 1.0"),
        (lambda k: random.randint(k, 2, 5, 5), RandomError, r"-2\*\*31 <= low < high <= 2\*\*31, got 5 and 5"),
        (lambda k: random.randint(k, 2, 0, 2**33), RandomError, "got 0 and 8589934592"),
        (lambda k: random.randint(k, 2, 0.0, 3), DtypeError, "low: expected an integer, got 0.0"),
        (lambda k: random.set_state({"seed": 1}), RandomError, r"expected the entries seed and taken, got \['seed'\]"),
        (lambda k: random.set_state({"seed": 1, "taken": -1}), RandomError, "taken: expected at least 0"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected_and_what_came(
    call: Callable[[Any], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        call(random.key(0))


def test_float64_is_refused_where_jax_has_none(jax: Any) -> None:
    with jax.enable_x64(False), pytest.raises(DtypeError, match="jax_enable_x64"):
        random.uniform(key_in(jax.numpy, 0), (2,), "float64")


def test_a_failed_seed_leaves_the_stream_as_it_was() -> None:
    random.seed(4)
    with pytest.raises(RandomError):
        random.seed(-1)
    with pytest.raises(DtypeError):
        random.set_state({"seed": 1, "taken": 0.5})
    assert random.get_state() == {"seed": 4, "taken": 0}
    assert stream._stream.seed == 4
