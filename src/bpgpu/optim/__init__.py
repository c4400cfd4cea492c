"""Optimizers, learning-rate schedules, clipping and averaging."""

from bpgpu.optim import lr_scheduler
from bpgpu.optim.accumulation import GradientAccumulator
from bpgpu.optim.adadelta import Adadelta
from bpgpu.optim.adafactor import Adafactor
from bpgpu.optim.adagrad import Adagrad
from bpgpu.optim.adam import Adam, AdamW
from bpgpu.optim.adamax import Adamax
from bpgpu.optim.asgd import ASGD
from bpgpu.optim.averaging import EMA, SWA
from bpgpu.optim.clip import clip_grad_norm, clip_grad_value, grad_norm
from bpgpu.optim.lamb import LAMB
from bpgpu.optim.lbfgs import LBFGS
from bpgpu.optim.lion import Lion
from bpgpu.optim.muon import Muon
from bpgpu.optim.nadam import NAdam
from bpgpu.optim.optimizer import Optimizer
from bpgpu.optim.radam import RAdam
from bpgpu.optim.rmsprop import RMSprop
from bpgpu.optim.rprop import Rprop
from bpgpu.optim.scaling import GradScaler
from bpgpu.optim.sgd import SGD

__all__ = [
    "ASGD",
    "EMA",
    "LAMB",
    "LBFGS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "GradScaler",
    "GradientAccumulator",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "clip_grad_norm",
    "clip_grad_value",
    "grad_norm",
    "lr_scheduler",
]
