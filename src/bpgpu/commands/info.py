"""`info`: what bpgpu finds on this machine: versions, devices, and what was skipped and why."""

from __future__ import annotations

import argparse

from bpgpu.device import show_config


def add(parser: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(options: argparse.Namespace) -> int:
    show_config()
    return 0
