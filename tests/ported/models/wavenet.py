"""A stack of dilated causal convolutions with gates and skips (van den Oord et al. 2016)."""

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class CausalConv1d(nn.Conv1d):
    """A convolution that sees the past only: a subclass that pads and calls its parent."""

    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, **kwargs):
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation, **kwargs)
        self.left = (kernel_size - 1) * dilation

    def forward(self, x):
        return super().forward(F.pad(x, (self.left, 0)))


class ResidualBlock(nn.Module):
    def __init__(self, channels, skip_channels, dilation, condition=None):
        super().__init__()
        self.dilated = CausalConv1d(channels, 2 * channels, 2, dilation=dilation)
        self.condition = nn.Conv1d(condition, 2 * channels, 1, bias=False) if condition else None
        self.res = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, skip_channels, 1)

    def forward(self, x, c=None):
        y = self.dilated(x)
        if self.condition is not None:
            y += self.condition(c)
        n = y.shape[1] // 2
        xp = array_namespace(y)
        y = xp.tanh(y[:, :n, :]) * F.sigmoid(y[:, n:, :])
        return (self.res(y) + x) * 0.5**0.5, self.skip(y)


class WaveNet(nn.Module):
    def __init__(self, levels=8, channels=4, skip_channels=6, blocks=2, layers=3):
        super().__init__()
        self.levels = levels
        self.receptive = 1 + blocks * sum(2**i for i in range(layers))
        self.start = CausalConv1d(levels, channels, 2)
        stack = []
        for b in range(blocks):
            for i in range(layers):
                stack += [ResidualBlock(channels, skip_channels, 2**i, condition=2 if b else None)]
        self.blocks = nn.ModuleList(stack)
        self.end = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(skip_channels, skip_channels, 1),
            nn.ReLU(),
            nn.Conv1d(skip_channels, levels, 1),
        )

    def forward(self, x, c):
        x = F.one_hot(x, self.levels)
        xp = array_namespace(self.start.weight)
        x = xp.astype(x, self.start.weight.dtype).swapaxes(1, 2)
        x = self.start(x)
        skips = 0
        for block in self.blocks:
            x, s = block(x, c)
            skips = skips + s
        return self.end(skips)[:, :, -6:]


def build():
    return WaveNet()


def loss(model, x, c, target):
    logits = model(x, c)
    return F.cross_entropy(logits, target), logits
