"""Schedules of the learning rate, under torch's names."""

from bpgpu.optim.lr_scheduler.base import LRScheduler
from bpgpu.optim.lr_scheduler.compose import ChainedScheduler, SequentialLR
from bpgpu.optim.lr_scheduler.cyclic import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from bpgpu.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from bpgpu.optim.lr_scheduler.plateau import ReduceLROnPlateau
from bpgpu.optim.lr_scheduler.warmup import SWALR, WarmupLR

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupLR",
]
