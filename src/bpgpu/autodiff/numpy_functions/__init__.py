"""What NumPy's functions do with traced arrays, by NumPy's names."""

from __future__ import annotations

from bpgpu.autodiff.numpy_functions import (
    algebra,
    curves,
    einsum,
    elementwise,
    order,
    shapes,
    statistics,
)
from bpgpu.autodiff.numpy_functions.elementwise import RENAMED
from bpgpu.autodiff.numpy_functions.table import Table

__all__ = ["CONSTANTS", "FUNCTIONS", "MOVES", "REDUCTIONS", "REFUSED", "RENAMED", "RUNNING"]

FUNCTIONS = Table(
    {
        **elementwise.FUNCTIONS,
        **shapes.FUNCTIONS,
        **statistics.FUNCTIONS,
        **order.FUNCTIONS,
        **einsum.FUNCTIONS,
        **algebra.FUNCTIONS,
        **curves.FUNCTIONS,
    }
)
"""Functions with a derivative, written to the standard."""

REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
"""What `ufunc.reduce` is called as a function."""

RUNNING = {"add": "cumsum", "multiply": "cumprod"}
"""What `ufunc.accumulate` is called as a function."""

MOVES: dict[str, int] = {
    **dict.fromkeys(
        ("delete", "diag", "diagflat", "fliplr", "flipud", "resize", "rollaxis", "rot90"), 0
    ),
    **dict.fromkeys(("compress", "extract"), 1),
}
"""Functions that move entries and may put zeros between them, and which argument they take them from."""

CONSTANTS = frozenset(
    (
        *("argpartition", "argwhere", "array2string", "array_equiv", "array_repr", "array_str"),
        *("can_cast", "common_type", "diag_indices_from", "digitize", "einsum_path"),
        *("flatnonzero", "iscomplex", "iscomplexobj", "isin", "isneginf", "isposinf", "isreal"),
        *("isrealobj", "lexsort", "may_share_memory", "min_scalar_type", "nanargmax"),
        *("nanargmin", "result_type", "shares_memory"),
        *("tril_indices_from", "triu_indices_from"),
    )
)
"""Functions whose results carry no gradient by nature: positions, truth values, shapes, dtypes, texts."""

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"),
        "it writes into an array in place; assign instead: x[index] = value",
    ),
    **dict.fromkeys(
        ("bincount", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd"),
        "it counts",
    ),
    **dict.fromkeys(
        (
            *("intersect1d", "setdiff1d", "setxor1d", "union1d", "unique", "unique_all"),
            *("unique_counts", "unique_inverse", "unique_values", "trim_zeros"),
        ),
        "how many values come back depends on the values; use sort",
    ),
    **dict.fromkeys(
        ("save", "savetxt", "savez", "savez_compressed"),
        "it writes to a file; give it bpgpu.to_numpy(bpgpu.stop_gradient(x))",
    ),
    "linalg.lstsq": "use numpy.linalg.pinv(a) @ b, which has one",
    "nextafter": "it steps through the floating-point numbers",
    "partition": "use sort, which has one",
    "spacing": "it steps through the floating-point numbers",
}
"""Functions that are refused, and why or what to use. All that are named nowhere are refused too."""
