"""MobileNetV3 (Howard et al. 2019): depthwise convolutions, squeeze and excitation, hard activations."""

from functools import partial

import torch.nn as nn
import torch.nn.functional as F


def _make_divisible(v, divisor, min_value=None):
    min_value = min_value or divisor
    new_v = max(min_value, int(v + divisor / 2) // divisor * divisor)
    return new_v + divisor if new_v < 0.9 * v else new_v


class ConvBNActivation(nn.Sequential):
    def __init__(
        self, in_planes, out_planes, kernel_size=3, stride=1, groups=1, activation_layer=nn.ReLU6
    ):
        padding = (kernel_size - 1) // 2
        norm_layer = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        super().__init__(
            nn.Conv2d(
                in_planes, out_planes, kernel_size, stride, padding, groups=groups, bias=False
            ),
            norm_layer(out_planes),
            activation_layer(inplace=True),
        )
        self.out_channels = out_planes


class HardSigmoid(nn.Module):
    """As written before torch had it; torch's own takes the sixth of float32 in its gradient."""

    def __init__(self, inplace=True):
        super(HardSigmoid, self).__init__()
        self.relu = nn.ReLU6(inplace=inplace)

    def forward(self, x):
        return self.relu(x + 3) / 6


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze_factor=4):
        super().__init__()
        squeezed = _make_divisible(channels // squeeze_factor, 2)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gate = HardSigmoid()

    def _scale(self, input):
        scale = F.adaptive_avg_pool2d(input, 1)
        scale = self.fc2(F.relu(self.fc1(scale), inplace=True))
        return self.gate(scale)

    def forward(self, input):
        return self._scale(input) * input


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio, act):
        super().__init__()
        hidden = int(round(inp * expand_ratio))
        self.use_res_connect = stride == 1 and inp == oup
        layers = []
        if expand_ratio != 1:
            layers.append(ConvBNActivation(inp, hidden, kernel_size=1, activation_layer=act))
        layers.extend(
            [
                ConvBNActivation(
                    hidden, hidden, 5, stride=stride, groups=hidden, activation_layer=act
                ),
                SqueezeExcitation(hidden),
                nn.Conv2d(hidden, oup, 1, 1, 0, bias=False),
                nn.BatchNorm2d(oup),
            ]
        )
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNet(nn.Module):
    def __init__(self, num_classes=5, dropout=0.2):
        super().__init__()
        features = [ConvBNActivation(3, 4, stride=2, activation_layer=nn.Hardswish)]
        channels = 4
        for t, c, n, s in [[1, 4, 1, 1], [2, 6, 2, 2]]:
            for i in range(n):
                features.append(
                    InvertedResidual(
                        channels, c, s if i == 0 else 1, t, nn.ReLU6 if c == 4 else nn.Hardswish
                    )
                )
                channels = c
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        self.apply(self.reset)

    @staticmethod
    def reset(m):
        if type(m) is nn.Conv2d:
            nn.init.kaiming_uniform_(m.weight, a=1, mode="fan_out")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0, 0.5)
            nn.init.zeros_(m.bias)

    def forward(self, x):
        x = self.features(x)
        x = x.mean((2, 3))
        return self.classifier(x)


def build(**settings):
    return MobileNet(**settings)


def loss(model, x, target):
    logits = model(x)
    return F.multi_margin_loss(logits, target) + F.cross_entropy(logits, target), logits
