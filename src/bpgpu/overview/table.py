"""A summary as data, and as a table of text."""

from __future__ import annotations

from dataclasses import dataclass, field

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One layer at one place of the model. Sizes count what is new in this row: nothing is in two rows."""

    path: str
    """The dotted path; empty for the model itself."""
    kind: str
    """The class of the layer."""
    calls: int
    """How often it was called; 0 if never."""
    output_shapes: tuple[Shape, ...]
    """The shapes of the arrays that its last call returned."""
    parameters: int
    """The numbers in its own parameters, those of layers inside not included."""
    trainable: int
    """Those that are not frozen."""
    parameter_bytes: int
    buffer_bytes: int
    flops: int | None
    """Operations of all its calls, layers inside not included; `None` if there is no rule for its kind."""
    activation_bytes: int
    """The size of the arrays that its calls made, views and arrays of layers inside not included."""
    notes: tuple[str, ...] = field(default=())

    @property
    def frozen(self) -> int:
        """The numbers in its own parameters that are frozen."""
        return self.parameters - self.trainable


@dataclass(frozen=True, repr=False)
class Summary:
    """The layers of a model with their sizes; `str` is the table, `rows` are the data."""

    rows: tuple[Row, ...]
    uncounted: tuple[str, ...]
    """The kinds of layers that were called and have no rule for their operations."""

    @property
    def parameters(self) -> int:
        """The numbers in all parameters, tied ones once."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Those that are not frozen."""
        return sum(row.trainable for row in self.rows)

    @property
    def frozen(self) -> int:
        """Those that are."""
        return self.parameters - self.trainable

    @property
    def flops(self) -> int:
        """The operations of one pass forward, in the layers that have a rule."""
        return sum(row.flops or 0 for row in self.rows)

    @property
    def parameter_bytes(self) -> int:
        """The memory of all parameters."""
        return sum(row.parameter_bytes for row in self.rows)

    @property
    def buffer_bytes(self) -> int:
        """The memory of all buffers."""
        return sum(row.buffer_bytes for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """The memory of what the layers return in one pass: about what training keeps for the way back."""
        return sum(row.activation_bytes for row in self.rows)

    def __str__(self) -> str:
        head = ("path", "layer", "output", "parameters", "FLOPs", "activations", "")
        cells = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
        lines = ["  ".join(_aligned(line, widths)).rstrip() for line in cells]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    __repr__ = __str__

    def _totals(self) -> list[str]:
        frozen = f"{self.trainable:,} trainable, {self.frozen:,} frozen"
        memory = f"{in_bytes(self.parameter_bytes)}; buffers {in_bytes(self.buffer_bytes)}"
        work = f"{in_units(self.flops)} FLOPs (a multiply-add is 2)"
        lines = [
            f"parameters:  {self.parameters:,} ({frozen}), {memory}",
            f"forward:     {work}, activations {in_bytes(self.activation_bytes)}",
        ]
        if self.uncounted:
            lines.append(f"not counted: FLOPs of {', '.join(self.uncounted)}")
        return lines


def _cells(row: Row) -> tuple[str, ...]:
    notes = list(row.notes)
    if row.frozen:
        notes.insert(0, "frozen" if not row.trainable else f"{row.frozen:,} frozen")
    if row.calls > 1:
        notes.insert(0, f"{row.calls} calls")
    return (
        row.path or "(model)",
        row.kind,
        _shapes(row.output_shapes),
        f"{row.parameters:,}" if row.parameters else "",
        in_units(row.flops) if row.flops else "",
        in_bytes(row.activation_bytes) if row.activation_bytes else "",
        ", ".join(notes),
    )


def _shapes(shapes: tuple[Shape, ...]) -> str:
    shown = ", ".join(map(str, shapes[:3]))
    return f"{shown}, ... {len(shapes)} arrays" if len(shapes) > 3 else shown


def _aligned(cells: tuple[str, ...], widths: list[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        cell.rjust(width) if 3 <= i <= 5 else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def in_units(n: int) -> str:
    """A count in thousands, millions ... with three digits.

    >>> in_units(7), in_units(1234), in_units(56_000), in_units(999_600), in_units(5_600_000_000)
    ('7', '1.23 k', '56.0 k', '1.00 M', '5.60 G')
    """
    value = float(n)
    for unit in ("", "k", "M", "G", "T", "P"):
        if value < 999.5 or unit == "P":
            break
        value /= 1000
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}" if unit else str(n)


def in_bytes(n: int) -> str:
    """A size in bytes, KiB, MiB ...

    >>> in_bytes(100), in_bytes(4096), in_bytes(3 << 20)
    ('100 B', '4.0 KiB', '3.0 MiB')
    """
    value = float(n)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1023.95 or unit == "TiB":
            break
        value /= 1024
    return f"{n} B" if unit == "B" else f"{value:,.1f} {unit}"
