"""GPT-2 (Radford et al. 2019) after nanoGPT: Linear and scaled_dot_product_attention, tied head."""

import math

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class LayerNorm(nn.Module):
    """LayerNorm but with an optional bias."""

    def __init__(self, like, ndim, bias):
        super().__init__()
        xp = array_namespace(like)
        self.weight = nn.Parameter(xp.ones(ndim))
        self.bias = nn.Parameter(xp.zeros(ndim)) if bias else None

    def forward(self, input):
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head, dropout, flash=True):
        super().__init__()
        assert n_embd % n_head == 0
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.attn_dropout = nn.Dropout(dropout)
        self.resid_dropout = nn.Dropout(dropout)
        self.n_head, self.n_embd, self.dropout, self.flash = n_head, n_embd, dropout, flash
        if not flash:
            xp = array_namespace(self.c_attn.weight)
            self.register_buffer("bias", xp.tril(xp.ones((1, 1, 8, 8))))

    def forward(self, x):
        B, T, C = x.shape
        xp = array_namespace(x)
        qkv = self.c_attn(x)
        q, k, v = (qkv[..., i * C : (i + 1) * C] for i in range(3))
        k = k.reshape(B, T, self.n_head, C // self.n_head).swapaxes(1, 2)
        q = q.reshape(B, T, self.n_head, C // self.n_head).swapaxes(1, 2)
        v = v.reshape(B, T, self.n_head, C // self.n_head).swapaxes(1, 2)
        if self.flash:
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=None,
                dropout_p=self.dropout if self.training else 0,
                is_causal=True,
            )
        else:
            att = (q @ k.swapaxes(-2, -1)) * (1.0 / math.sqrt(k.shape[-1]))
            att = xp.where(self.bias[:, :, :T, :T] == 0, -math.inf, att)
            att = F.softmax(att, dim=-1)
            att = self.attn_dropout(att)
            y = att @ v
        y = y.swapaxes(1, 2).reshape(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    def __init__(self, n_embd, dropout):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, n_embd, n_head, dropout, bias, flash):
        super().__init__()
        self.attn = CausalSelfAttention(n_embd, n_head, dropout, flash)
        self.ln_1 = LayerNorm(self.attn.c_attn.weight, n_embd, bias=bias)
        self.ln_2 = LayerNorm(self.attn.c_attn.weight, n_embd, bias=bias)
        self.mlp = MLP(n_embd, dropout)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    def __init__(
        self,
        vocab_size=12,
        block_size=8,
        n_layer=2,
        n_head=2,
        n_embd=8,
        dropout=0.1,
        bias=False,
        flash=True,
    ):
        super().__init__()
        self.block_size = block_size
        wte = nn.Embedding(vocab_size, n_embd)
        self.transformer = nn.ModuleDict(
            dict(
                wte=wte,
                wpe=nn.Embedding(block_size, n_embd),
                drop=nn.Dropout(dropout),
                h=nn.ModuleList(
                    [Block(n_embd, n_head, dropout, bias, flash) for _ in range(n_layer)]
                ),
                ln_f=LayerNorm(wte.weight, n_embd, bias=bias),
            )
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight

        self.apply(self._init_weights)
        for pn, p in self.named_parameters():
            if pn.endswith("c_proj.weight"):
                nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * n_layer))

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets=None):
        b, t = idx.shape
        assert t <= self.block_size, f"Cannot forward sequence of length {t}"
        pos = array_namespace(idx).arange(0, t)
        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(pos))
        for block in self.transformer.h:
            x = block(x)
        x = self.transformer.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, -1:, :]), None
        logits = self.lm_head(x)
        return logits, F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-1
        )


def build(**settings):
    return GPT(**settings)


def loss(model, idx, targets):
    logits, value = model(idx, targets)
    return value, logits
