"""A tagger: embeddings of words and of characters, bidirectional GRU, one label a word."""

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class CharCNN(nn.Module):
    def __init__(self, n_chars, dim, widths=(2, 3)):
        super().__init__()
        self.embed = nn.Embedding(n_chars, dim)
        self.convs = nn.ModuleList([nn.Conv1d(dim, 4, w, padding=w - 1) for w in widths])

    def forward(self, chars):
        n, t, c = chars.shape
        x = self.embed(chars.reshape(n * t, c)).swapaxes(1, 2)
        pooled = [F.adaptive_max_pool1d(F.relu(conv(x)), 1).squeeze(-1) for conv in self.convs]
        return array_namespace(x).concat(pooled, axis=-1).reshape(n, t, -1)


class Tagger(nn.Module):
    def __init__(self, n_words=13, n_chars=7, n_tags=5, dropout=0.3):
        super().__init__()
        self.words = nn.Embedding(n_words, 6, padding_idx=0)
        self.chars = CharCNN(n_chars, 3)
        self.norm = nn.LayerNorm(14)
        self.gru = nn.GRU(
            14, 8, num_layers=2, batch_first=True, bidirectional=True, dropout=dropout
        )
        self.dropout = dropout
        self.out = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, n_tags, bias=False))
        for name, p in self.gru.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(p)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(p)
            else:
                nn.init.zeros_(p)

    def forward(self, words, chars):
        xp = array_namespace(self.words.weight)
        x = xp.concat((self.words(words), self.chars(chars)), axis=2)
        x = F.dropout(self.norm(x), p=self.dropout, training=self.training)
        x, h = self.gru(x)
        return self.out(x), h


def build(**settings):
    return Tagger(**settings)


def loss(model, words, chars, tags):
    logits, h = model(words, chars)
    value = F.cross_entropy(logits.swapaxes(1, 2), tags, ignore_index=-100)
    return value + 1e-2 * (h**2).mean(), (logits, h)
