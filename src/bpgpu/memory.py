"""The memory of the CPU: kept for the next arrays, or given back.

When the CPU is first used, glibc's malloc is told to keep freed memory for the next arrays (docs/cpu.md). These two
functions are for programs that want it otherwise.
"""

from bpgpu.backend import malloc

__all__ = ["keep_malloc", "trim"]


def keep_malloc() -> None:
    """Leave malloc as the system has it. Call it before the first array is made or differentiated; the environment
    variable `BPGPU_KEEP_MALLOC=1` does the same.

    *Raises* `RuntimeError` if malloc was tuned already.
    """
    malloc.keep()


def trim() -> bool:
    """Give memory that is kept for the next arrays back to the system, after a large job say.

    True if there was any. False where malloc is not glibc's, which keeps none.
    """
    return malloc.trim()
