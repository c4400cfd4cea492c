"""What `import bpgpu` costs beyond NumPy, and what the first use of each part costs.

    python benchmarks/import_time.py [repeats]

Each row is timed in fresh processes, with the source compiled already; the least and the median of all repeats, in
milliseconds. What a row needs first is done before its clock starts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

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


def main(repeats: int = 15) -> None:
    least = {}
    print(f"{'':45}{'least':>8}{'median':>8}  ms")
    for what, (before, timed) in ROWS.items():
        with tempfile.TemporaryDirectory() as bytecode:
            milliseconds(before, timed, bytecode)  # reads the files into memory, compiles them
            times = [milliseconds(before, timed, bytecode) for _ in range(repeats)]
        least[what] = min(times)
        print(f"{what:45}{least[what]:8.1f}{statistics.median(times):8.1f}")
    added = least["import bpgpu, after numpy"]
    verdict = "within" if added <= LIMIT else "ABOVE"
    print(f"bpgpu adds {added:.0f} ms to the import of NumPy: {verdict} the limit of {LIMIT} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
