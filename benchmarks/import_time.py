"""What `import bpgpu` costs beyond NumPy, and what the first use of each part costs.

    python benchmarks/import_time.py [--repeats 15] [--write]

Each row is timed in fresh processes, with the source compiled already; the least and the median of all repeats, in
milliseconds. What a row needs first is done before its clock starts.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 60
"""Milliseconds that `import bpgpu` may add to the import of NumPy."""

ROWS = {
    # what: (what comes first, what is timed)
    "import numpy": ("", "import numpy"),
    "import bpgpu, after numpy": ("import numpy", "import bpgpu"),
    "import array_api_compat.numpy, after numpy": (
        "import numpy",
        "import array_api_compat.numpy",
    ),
    "first gradient": (
        "import numpy, bpgpu; x = numpy.ones(3)",
        "bpgpu.grad(lambda x: x @ x)(x)",
    ),
    "second gradient, of the same function": (
        "import numpy, bpgpu; x = numpy.ones(3); g = bpgpu.grad(lambda x: x @ x); g(x)",
        "g(x)",
    ),
    "first device('auto'), with a search for CUDA": (
        "from bpgpu.device import device",
        "device('auto')",
    ),
}


def milliseconds(before: str, timed: str, bytecode: str) -> float:
    """The time of one piece of code in a process of its own, which keeps compiled source in a folder `bytecode`."""
    script = (
        f"import time\n{before}\nstart = time.perf_counter()\n{timed}\n"
        "print(1000 * (time.perf_counter() - start))"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="into benchmarks/results")
    options = parser.parse_args()
    least = {}
    lines = ["| | least, ms | median, ms |", "|---|---|---|"]
    for what, (before, timed) in ROWS.items():
        with tempfile.TemporaryDirectory() as bytecode:
            milliseconds(before, timed, bytecode)  # reads the files into memory, compiles them
            times = [milliseconds(before, timed, bytecode) for _ in range(options.repeats)]
        least[what] = min(times)
        lines.append(f"| {what} | {least[what]:.1f} | {statistics.median(times):.1f} |")
        print(lines[-1], flush=True)
    added = least["import bpgpu, after numpy"]
    verdict = "within" if added <= LIMIT else "ABOVE"
    print(f"bpgpu adds {added:.0f} ms to the import of NumPy: {verdict} the limit of {LIMIT} ms")
    if options.write:
        command = f"`python benchmarks/import_time.py --repeats {options.repeats}`"
        machine = f"Python {platform.python_version()}, {platform.machine()}"
        text = "\n".join(["# Import", "", f"{command}: {machine}", "", *lines, ""])
        (Path(__file__).parent / "results" / "import.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
