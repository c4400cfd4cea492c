"""The networks, written once: `nn` and `functional` are PyTorch's or bpgpu's, which have the same names."""

from __future__ import annotations

import itertools
from typing import Any


def mlp(nn: Any, functional: Any, sizes: list[int]) -> Any:
    layers: list[Any] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(nn: Any, functional: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        nn.MaxPool2d(2),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
        nn.MaxPool2d(2),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, 10)),
    )


def residual(nn: Any, functional: Any) -> Any:
    """The class of a block with two convolutions and a way around them: `Block(inputs, outputs, stride)`."""
    relu = functional.relu

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, i: int, o: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(o)
            self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(o)
            self.down = None
            if stride != 1 or i != o:
                down = nn.Conv2d(i, o, 1, stride, bias=False)
                self.down = nn.Sequential(down, nn.BatchNorm2d(o))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
            return relu(y + (x if self.down is None else self.down(x)))

    return Block


def resnet(nn: Any, functional: Any) -> Any:
    relu, block = functional.relu, residual(nn, functional)

    class ResNet(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn = nn.BatchNorm2d(16)
            self.blocks = nn.Sequential(block(16, 16, 1), block(16, 32, 2), block(32, 64, 2))
            self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
            self.head = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.flat(self.pool(self.blocks(relu(self.bn(self.conv(x)))))))

    return ResNet()


def recurrent(nn: Any, functional: Any, kind: str) -> Any:
    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(96, 128)
            self.rnn = getattr(nn, kind)(128, 256, batch_first=True)
            self.head = nn.Linear(256, 96)

        def forward(self, x: Any) -> Any:
            y, _ = self.rnn(self.embedding(x))
            return self.head(y.reshape(-1, 256))

    return Model()


def transformer(nn: Any, functional: Any) -> Any:
    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norm1, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.norm2 = nn.LayerNorm(d)
            self.up, self.act, self.down = nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)

        def forward(self, x: Any) -> Any:
            n, t, d = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads)
            q, k, v = (qkv[:, :, i, :, :].swapaxes(1, 2) for i in range(3))
            a = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(a.swapaxes(1, 2).reshape(n, t, d))
            return x + self.down(self.act(self.up(self.norm2(x))))

    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.place = nn.Embedding(96, 256), nn.Embedding(128, 256)
            self.blocks = nn.Sequential(Block(256, 4), Block(256, 4))
            self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 96)

        def forward(self, x: Any) -> Any:
            y = self.blocks(self.embedding(x) + self.place.weight)
            return self.head(self.norm(y).reshape(-1, 256))

    return Model()
