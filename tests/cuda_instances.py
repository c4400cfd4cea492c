"""The instances of our CUDA kernels that are compiled in tests: for each file, those of a type.

The kernels run on the CPU from these lists, too, so that none is used in a test that is not compiled for GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator

LOADED = {"float": 4, "double": 2, "__half": 8, "__nv_bfloat16": 8}
"""Numbers of a type in 16 bytes."""


def norm(t: str) -> Iterator[str]:
    wide = "double" if t == "double" else "float"
    for w in sorted({t, wide}):
        for name in ("rows", "rows_back", "columns", "columns_back", "affine"):
            yield from (f"norm_{name}<{t}, {w}, {n}>" for n in (1, LOADED[t]))
        yield f"norm_moved<{w}, {t}>"
        yield f"norm_sums_joined<{wide}, {w}>"
    for name in ("moments", "moments_joined", "sums"):
        yield f"norm_{name}<{t}>"
    if t != wide:
        yield f"norm_moved<{t}, {wide}>"


def softmax(t: str) -> Iterator[str]:
    for name in ("softmax_rows", "softmax_rows_back", "log_softmax_rows", "log_softmax_rows_back"):
        yield from (f"{name}<{t}, {n}>" for n in (1, LOADED[t]))


def conv(t: str) -> Iterator[str]:
    yield from (f"window_rows<Pack<unsigned short, {n}>>" for n in (1, 2, 4, 8))
    yield f"added_windows<{t}>"


def gelu(t: str) -> Iterator[str]:
    for form in ("Exact", "ByTanh"):
        for name in ("gelu", "gelu_back"):
            yield from (f"{name}<{t}, {n}, {form}>" for n in (1, LOADED[t]))


def embedding(t: str) -> Iterator[str]:
    for index in ("int", "long long"):
        for name in ("take_rows", "sum_chunks", "add_chunks"):
            yield from (f"{name}<{t}, {index}, {n}>" for n in (1, LOADED[t]))


def pool(t: str) -> Iterator[str]:
    yield from (f"{name}<{t}>" for name in ("maxima", "maxima_back", "means", "means_back"))


def recurrent(t: str) -> Iterator[str]:
    yield from (f"{cell}_step{way}<{t}>" for cell in ("lstm", "gru") for way in ("", "_back"))


def loss(t: str) -> Iterator[str]:
    for label in ("int", "long long"):
        for way in ("", "_back"):
            yield from (f"entropy_rows{way}<{t}, {label}, {n}>" for n in (1, LOADED[t]))
            yield f"entropy_places{way}<{t}, {label}>"
    yield f"entropy_joined<{t}>"


def random(t: str) -> Iterator[str]:
    yield from ("blocks_of_key", "key_after")
    for planes in (2, 4):
        yield f"mask_of_key<{planes}>"
        for form in ("Same", "Relu", "Exact", "ByTanh"):
            yield from (f"dropped<{t}, {n}, {planes}, {form}>" for n in (1, LOADED[t]))
        for form in ("Exact", "ByTanh"):
            yield from (f"dropped_back<{t}, {n}, {planes}, {form}>" for n in (1, LOADED[t]))
    for name in ("relu", "relu_back"):
        yield from (f"{name}<{t}, {n}>" for n in (1, LOADED[t]))


def columns(t: str) -> Iterator[str]:
    wide = "double" if t == "double" else "float"
    for n in (1, LOADED[t]):
        yield from (f"column_sums<{t}, {s}, {n}>" for s in sorted({t, wide}))
    if t != wide:
        yield f"column_sums<{wide}, {t}, 1>"


def update(t: str) -> Iterator[str]:
    wide = "double" if t == "double" else "float"
    yield f"adam<{t}>"
    yield f"squares<{t}>"
    for rate in ("float", "double"):
        yield f"adam_begin<{wide}, {rate}>"
        yield f"sgd<{t}, {rate}>"
    yield f"clipped<{t}>"
    if t == wide:
        yield f"unscaled<{t}>"
    yield f"counted_on<{wide}>"
    yield f"root_of_sum<{wide}>"


FILES = {
    "conv.cu": conv,
    "embedding.cu": embedding,
    "columns.cu": columns,
    "gelu.cu": gelu,
    "loss.cu": loss,
    "norm.cu": norm,
    "pool.cu": pool,
    "random.cu": random,
    "recurrent.cu": recurrent,
    "softmax.cu": softmax,
    "update.cu": update,
}
