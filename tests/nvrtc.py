"""NVIDIA's compiler for kernels, which needs neither a GPU nor a driver: what CuPy calls on a user's machine."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

WORDS = re.compile(
    r"Compiling entry function '(\S+)' for.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)


class Use(NamedTuple):
    """What a kernel needs of each thread."""

    stack: int
    """Bytes of memory for what registers do not hold by their nature."""
    spilled: int
    """Bytes of memory for what there were too few registers for."""
    registers: int


@functools.cache
def library() -> tuple[Any, list[str]]:
    """NVRTC, and the folders of CUDA's headers; or the test is skipped."""
    for root in _roots():
        found = sorted(root.glob("lib/libnvrtc.so*"))
        if found and (root / "include" / "cuda_fp16.h").exists():
            return ctypes.CDLL(str(found[0])), [str(root / "include")]
    pytest.skip("NVRTC and CUDA's headers are not installed: pip install nvidia-cuda-nvrtc")


def _roots() -> list[Path]:
    """The folders of NVIDIA's packages, and a toolkit of the system."""
    spec = importlib.util.find_spec("nvidia")
    places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    return [p for place in places for p in sorted(place.glob("cu*"))] + [Path("/usr/local/cuda")]


def compiled(code: str, expressions: tuple[str, ...], arch: str) -> tuple[bytes, list[Use]]:
    """The machine code of instances of kernels, and what each of them needs."""
    nvrtc, folders = library()
    program = ctypes.c_void_p()
    status = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None
    )
    assert status == 0
    for e in expressions:
        assert nvrtc.nvrtcAddNameExpression(program, e.encode()) == 0
    options = ["--std=c++17", "-ftz=true", f"-arch={arch}", "--ptxas-options=-v"]
    options += [f"-I{folder}" for folder in folders]
    words = [o.encode() for o in options]
    status = nvrtc.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode()
    assert status == 0, log
    code = _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    uses = [Use(int(a), int(b) + int(c), int(r)) for _, a, b, c, r in WORDS.findall(log)]
    return code, uses


def _text(ask_size: Any, read: Any, program: Any) -> bytes:
    size = ctypes.c_size_t()
    assert ask_size(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert read(program, text) == 0
    return text.raw
