"""What is typed, taken apart and handed on. Each command is a file of its own with `add` and `run`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import bpgpu
from bpgpu.commands import bench, check, info, parity, predict, train
from bpgpu.errors import BpgpuError

COMMANDS = {
    "info": info,
    "check": check,
    "parity": parity,
    "bench": bench,
    "train": train,
    "predict": predict,
}
WRONG, INTERRUPTED = 2, 130
"""Exit statuses; a command that finds something broken ends with 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    What a user can put right is told in a line on the error stream, with status 2, before any work is done.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a console may lack the letters of a table
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status = int(COMMANDS[options.command].run(options))
        sys.stdout.flush()
        return status
    except BpgpuError as error:
        return _failed(options.command, str(error))
    except MemoryError as error:
        return _failed(options.command, f"not enough memory; ask for less ({error})")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # such as a full disk behind the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _failed(options.command, str(error))


def _failed(command: str, message: str) -> int:
    print(f"bpgpu {command}: {message}", file=sys.stderr)
    return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpgpu",
        description="Train neural networks on the CPU or a CUDA GPU; see what this machine can do.",
    )
    parser.add_argument("--version", action="version", version=f"bpgpu {bpgpu.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").partition("\n")[0].partition(": ")[2].rstrip(".")
        sub = commands.add_parser(
            name, help=summary, description=summary[:1].upper() + summary[1:] + "."
        )
        command.add(sub)
    return parser
