"""The command line, for people who look before they code: `python -m bpgpu --help`."""

from bpgpu.commands.line import main

__all__ = ["main"]
