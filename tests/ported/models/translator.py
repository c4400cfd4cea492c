"""Translation with nn.Transformer (Vaswani et al. 2017) and with nn.MultiheadAttention over its memory."""

import math

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class PositionalEncoding(nn.Module):
    def __init__(self, like, emb_size, dropout, maxlen=20):
        super(PositionalEncoding, self).__init__()
        xp = array_namespace(like)
        den = xp.exp(-xp.arange(0, emb_size, 2) * (math.log(10000) / emb_size))
        angles = xp.arange(0, maxlen).reshape(maxlen, 1) * den
        embedding = xp.stack([xp.sin(angles), xp.cos(angles)], axis=-1).reshape(maxlen, 1, emb_size)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pos_embedding", embedding)

    def forward(self, token_embedding):
        return self.dropout(token_embedding + self.pos_embedding[: token_embedding.shape[0], :, :])


class Translator(nn.Module):
    def __init__(self, vocabulary=9, emb_size=8, nhead=2, dropout=0.1):
        super().__init__()
        self.emb_size = emb_size
        self.src_tok_emb = nn.Embedding(vocabulary, emb_size)
        self.tgt_tok_emb = nn.Embedding(vocabulary, emb_size)
        self.positional_encoding = PositionalEncoding(self.src_tok_emb.weight, emb_size, dropout)
        self.transformer = nn.Transformer(
            d_model=emb_size,
            nhead=nhead,
            num_encoder_layers=2,
            num_decoder_layers=2,
            dim_feedforward=12,
            dropout=dropout,
        )
        self.copy = nn.MultiheadAttention(
            emb_size, nhead, dropout=dropout, kdim=emb_size, vdim=emb_size
        )
        self.generator = nn.Linear(emb_size, vocabulary)
        for _, p in self.named_parameters():
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, src, trg):
        xp = array_namespace(src, self.generator.weight)
        t = trg.shape[0]
        future = xp.arange(t)[None, :] > xp.arange(t)[:, None]
        src_padding, tgt_padding = (src == 0).T, (trg == 0).T
        scale = math.sqrt(self.emb_size)
        src_emb = self.positional_encoding(self.src_tok_emb(src) * scale)
        tgt_emb = self.positional_encoding(self.tgt_tok_emb(trg) * scale)
        outs = self.transformer(
            src_emb,
            tgt_emb,
            tgt_mask=future,
            src_key_padding_mask=src_padding,
            tgt_key_padding_mask=tgt_padding,
            memory_key_padding_mask=src_padding,
        )
        copied, weights = self.copy(outs, src_emb, src_emb, key_padding_mask=src_padding)
        return self.generator(outs + copied), weights


def build(**settings):
    return Translator(**settings)


def loss(model, src, trg):
    logits, weights = model(src, trg[:-1, :])
    value = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), trg[1:, :].reshape(-1), ignore_index=0
    )
    return value + 0.1 * (weights**2).mean(), (logits, weights)
