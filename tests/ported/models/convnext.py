"""ConvNeXt (Liu et al. 2022): channels last inside a block, learnt scales, layer norm of two kinds."""

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        xp = array_namespace(x)
        x = xp.permute_dims(x, (0, 2, 3, 1))
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return xp.permute_dims(x, (0, 3, 1, 2))


class Permute(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return array_namespace(x).permute_dims(x, self.dims)


class CNBlock(nn.Module):
    def __init__(self, dim, layer_scale):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=7, padding="same", groups=dim, padding_mode="reflect"),
            Permute([0, 2, 3, 1]),
            nn.LayerNorm(dim, eps=1e-6),
            nn.Linear(in_features=dim, out_features=4 * dim, bias=True),
            nn.GELU(),
            nn.Linear(in_features=4 * dim, out_features=dim, bias=True),
            Permute([0, 3, 1, 2]),
        )
        xp = array_namespace(self.block[0].weight)
        self.layer_scale = nn.Parameter(xp.ones((dim, 1, 1)) * layer_scale)
        self.register_parameter("unused", None)

    def forward(self, input):
        result = self.layer_scale * self.block(input)
        result += input
        return result


class ConvNeXt(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, kernel_size=2, stride=2), LayerNorm2d(4, eps=1e-6)
        )
        self.stages = nn.ModuleList()
        self.stages.append(nn.Sequential(CNBlock(4, 0.5), CNBlock(4, 0.25)))
        self.stages.append(
            nn.Sequential(LayerNorm2d(4), nn.Conv2d(4, 6, 2, stride=2), CNBlock(6, 0.1))
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(LayerNorm2d(6), nn.Flatten(1), nn.Linear(6, num_classes))

        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(m.weight, std=0.2)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x):
        x = self.stem(x)
        for i in range(len(self.stages)):
            x = self.stages[i](x)
        return self.classifier(self.avgpool(x))


def build():
    return ConvNeXt()


def loss(model, x, target):
    logits = model(x)
    probabilities = F.softmax(target, dim=-1)
    return F.kl_div(F.log_softmax(logits, dim=-1), probabilities, reduction="batchmean"), logits
