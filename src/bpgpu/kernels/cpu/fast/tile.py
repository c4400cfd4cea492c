"""A tile of a matrix product, kept in the registers of the processor while it is summed.

For `ROWS` rows of results, each of one to three vectors side by side,

    c[places[m] + j] = start[j] + sum over u, k of  a[rows[m] + runs[u] + step k] b[apart (u length + k) + j]

A row of the left matrix need not stand in memory as a row: it is read from wherever `rows` and
`runs` say. So a convolution is such a product without anything being copied together first. In each
step a number of `a` for each row is multiplied by the same vectors of `b`: `ROWS` loads of a number
and up to three of a vector serve three times as many products, enough to keep the multipliers busy.

numba compiles loops over numbers, and would not keep the sums in registers; so the loop is written
in the language of the compiler behind it, LLVM. (K. Goto and R. van de Geijn, 2008, "Anatomy of
high-performance matrix multiplication".)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

_features = binding.get_host_cpu_features()
BYTES = 64 if _features.get("avx512f") else 32 if _features.get("avx") else 16
"""Of a vector. Where the processor has shorter ones after all, LLVM splits them."""
ROWS = 4 if BYTES == 32 else 8
"""In a tile: with three vectors each they fit into 16 registers of AVX, or 32 of the others."""

_WORD, _INT, _BIT = ir.IntType(64), ir.IntType(32), ir.IntType(1)


class Code:
    """Writes LLVM's instructions for one tile."""

    def __init__(self, builder: Any, real: Any, vectors: int) -> None:
        self.builder, self.real, self.vectors = builder, real, vectors
        self.size = 4 if real == ir.FloatType() else 8
        self.lanes = BYTES // self.size
        self.vector = ir.VectorType(real, self.lanes)
        self.mask = ir.VectorType(_BIT, self.lanes)
        self.zeros = ir.Constant(self.vector, [0.0] * self.lanes)

    def spread(self, x: Any, kind: Any) -> Any:
        """A vector that is `x` everywhere."""
        nothing, order = ir.Constant(kind, ir.Undefined), ir.VectorType(_INT, kind.count)
        first = self.builder.insert_element(nothing, x, ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(order, [0] * kind.count))

    def columns(self, width: Any) -> list[Any]:
        """For each vector of a row, which of its numbers lie within the width."""
        words = ir.VectorType(_WORD, self.lanes)
        limit = self.spread(width, words)
        numbers = [range(v * self.lanes, (v + 1) * self.lanes) for v in range(self.vectors)]
        lanes = [ir.Constant(words, list(part)) for part in numbers]
        return [self.builder.icmp_signed("<", lane, limit) for lane in lanes]

    def within(self, m: int, height: Any, masks: list[Any]) -> list[Any]:
        """The masks for a row, which are empty for rows beyond the height."""
        none = ir.Constant(self.mask, [0] * self.lanes)
        inside = self.builder.icmp_signed("<", word(m), height)
        return [self.builder.select(inside, mask, none) for mask in masks]

    def load(self, base: Any, offset: Any, mask: Any = None) -> Any:
        place = self._place(base, offset)
        if mask is None:
            return self.builder.load(place, align=self.size)
        kinds = [place.type, _INT, self.mask, self.vector]
        function = self._function("load", ir.FunctionType(self.vector, kinds))
        return self.builder.call(function, [place, self._align(), mask, self.zeros])

    def store(self, x: Any, base: Any, offset: Any, mask: Any) -> None:
        place = self._place(base, offset)
        kinds = [self.vector, place.type, _INT, self.mask]
        function = self._function("store", ir.FunctionType(ir.VoidType(), kinds))
        self.builder.call(function, [x, place, self._align(), mask])

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """`x y + z`, in one instruction where the processor has it."""
        fused = ("contract",)
        return self.builder.fadd(self.builder.fmul(x, y, flags=fused), z, flags=fused)

    def _place(self, base: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.vector.as_pointer())

    def _align(self) -> Any:
        return ir.Constant(_INT, self.size)

    def _function(self, what: str, kind: Any) -> Any:
        name, module = f"llvm.masked.{what}.v{self.lanes}f{8 * self.size}.p0", self.builder.module
        return module.globals.get(name) or ir.Function(module, kind, name)


def word(n: int) -> Any:
    return ir.Constant(_WORD, n)


def _address(typing: Any, array: Any, index: Any) -> Any:
    """Where in memory an entry of an array without gaps is. The array must outlive the number: in a
    loop that takes the address of one made in the same function, take it anew each time.

    numba counts who holds an array, which would cost more than a tile; addresses are plain numbers."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        return builder.ptrtoint(builder.gep(data, [given[1]]), _WORD)

    return types.int64(array, types.int64), generate


address: Any = intrinsic(_address)


def _tile(vectors: int, adds: bool) -> Callable[..., None]:
    """The product of tiles so many vectors wide. It begins at the vector `start`, or, if it `adds`,
    at what stands in `c`; then `b` is read no further than the width either. `unit` is a number of
    the dtype; the arrays are given by addresses, `rows` and `places` by those of their entries for
    the first row; there are `count` runs."""

    def tile(
        typing: Any,
        unit: Any,
        a: Any,
        rows: Any,
        runs: Any,
        count: Any,
        length: Any,
        step: Any,
        b: Any,
        apart: Any,
        start: Any,
        c: Any,
        places: Any,
        height: Any,
        width: Any,
    ) -> Any:
        return types.void(unit, *[types.int64] * 13), generate

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, *arrays, places, height, width = given
        a, rows, runs, count, length, step, b, apart, start, c = arrays
        real = context.get_data_type(signature.args[0])
        code = Code(builder, real, vectors)
        a, b, start, c = (builder.inttoptr(x, real.as_pointer()) for x in (a, b, start, c))
        rows, runs, places = (builder.inttoptr(x, _WORD.as_pointer()) for x in (rows, runs, places))
        offsets = [word(v * code.lanes) for v in range(vectors)]
        masks = code.columns(width)
        blocks = [
            builder.function.append_basic_block(name) for name in ("run", "step", "next", "end")
        ]
        run, inner, after, end = blocks

        lefts, results, begun = [], [], []
        for m in range(ROWS):
            lefts.append(builder.gep(a, [builder.load(builder.gep(rows, [word(m)]))]))
            results.append(builder.gep(c, [builder.load(builder.gep(places, [word(m)]))]))
            if adds:
                kept = code.within(m, height, masks)
                begun += [code.load(results[m], o, k) for o, k in zip(offsets, kept, strict=True)]
            else:
                begun += begun[:vectors] or [code.load(start, o) for o in offsets]
        entry = builder.block
        builder.branch(run)

        builder.position_at_end(run)  # for each u
        u, b_run = builder.phi(_WORD), builder.phi(_WORD)
        sums_run = [builder.phi(code.vector) for _ in begun]
        a_run = builder.load(builder.gep(runs, [u]))
        builder.branch(inner)

        builder.position_at_end(inner)  # for each k
        k, a_now, b_now = builder.phi(_WORD), builder.phi(_WORD), builder.phi(_WORD)
        sums = [builder.phi(code.vector) for _ in begun]
        rights = [
            code.load(b, builder.add(b_now, o), mask if adds else None)
            for o, mask in zip(offsets, masks, strict=True)
        ]
        more = []
        for m in range(ROWS):
            x = code.spread(builder.load(builder.gep(lefts[m], [a_now])), code.vector)
            of_row = sums[m * vectors : (m + 1) * vectors]
            more += [code.multiply_add(x, y, z) for y, z in zip(rights, of_row, strict=True)]
        k_next, a_next, b_next = (
            builder.add(x, by) for x, by in ((k, word(1)), (a_now, step), (b_now, apart))
        )
        builder.cbranch(builder.icmp_signed("<", k_next, length), inner, after)
        carried = [(k, word(0), k_next), (a_now, a_run, a_next), (b_now, b_run, b_next)]
        for phi, first, later in (*carried, *zip(sums, sums_run, more, strict=True)):
            phi.add_incoming(first, run)
            phi.add_incoming(later, inner)

        builder.position_at_end(after)
        u_next = builder.add(u, word(1))
        builder.cbranch(builder.icmp_signed("<", u_next, count), run, end)
        carried = [(u, word(0), u_next), (b_run, word(0), b_next)]
        for phi, first, later in (*carried, *zip(sums_run, begun, more, strict=True)):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, after)

        builder.position_at_end(end)
        for m in range(ROWS):
            for v, mask in enumerate(code.within(m, height, masks)):
                code.store(more[m * vectors + v], results[m], offsets[v], mask)
        return context.get_dummy_value()

    made: Callable[..., None] = intrinsic(tile)
    return made


set1, set2, set3 = (_tile(vectors, adds=False) for vectors in (1, 2, 3))
add1, add2, add3 = (_tile(vectors, adds=True) for vectors in (1, 2, 3))
