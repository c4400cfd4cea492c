"""What a model consists of: its layers, their sizes, and what a pass through them costs."""

from bpgpu.overview.table import Row, Summary
from bpgpu.overview.visit import summary

__all__ = ["Row", "Summary", "summary"]
