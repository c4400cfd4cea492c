"""A vision transformer (Dosovitskiy et al. 2020): patches by convolution, class token, learnt positions."""

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class SelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, dim * 3, bias=False)
        self.q_norm, self.k_norm = nn.LayerNorm(dim // heads), nn.LayerNorm(dim // heads)
        self.proj = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, x):
        b, n, c = x.shape
        xp = array_namespace(x)
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads)
        q, k, v = xp.unstack(xp.permute_dims(qkv, (2, 0, 3, 1, 4)))
        x = F.scaled_dot_product_attention(
            self.q_norm(q), self.k_norm(k), v, dropout_p=self.dropout if self.training else 0.0
        )
        return self.proj(x.swapaxes(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(
        self, image=12, patch=4, dim=8, heads=2, layers=2, classes=5, dropout=0.1, stock=False
    ):
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, dim, patch, stride=patch), nn.Flatten(2))
        xp = array_namespace(self.patches[0].weight)
        self.cls_token = nn.Parameter(xp.zeros((1, 1, dim)))
        self.pos_embed = nn.Parameter(xp.zeros((1, 1 + (image // patch) ** 2, dim)))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.dropout = nn.Dropout(dropout)
        if stock:
            layer = nn.TransformerEncoderLayer(
                dim, heads, 2 * dim, dropout, activation=F.gelu, batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        else:
            self.encoder = nn.Sequential(*[Block(dim, heads, dropout) for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, x):
        xp = array_namespace(x)
        x = self.patches(x).swapaxes(1, 2)
        token = xp.broadcast_to(self.cls_token, (x.shape[0], 1, x.shape[2]))
        x = self.dropout(xp.concat([token, x], axis=1) + self.pos_embed)
        return self.head(self.encoder(x)[:, 0, :])


def build(**settings):
    return ViT(**settings)


def loss(model, x, labels):
    logits = model(x)
    return F.cross_entropy(logits, labels), logits
