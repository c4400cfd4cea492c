"""Translation with additive attention (Bahdanau et al. 2014): a loop over time with GRUCell."""

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class Encoder(nn.Module):
    def __init__(self, vocabulary, embedding_dim, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.rnn = nn.GRU(embedding_dim, hidden, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, hidden)

    def forward(self, src):
        outputs, hidden = self.rnn(self.embedding(src))
        xp = array_namespace(outputs)
        return outputs, xp.tanh(self.fc(xp.concat((hidden[-2, ...], hidden[-1, ...]), axis=1)))


class Attention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.attn = nn.Linear(3 * hidden, hidden)
        self.v = nn.Linear(hidden, 1, bias=False)

    def forward(self, hidden, encoder_outputs, mask):
        xp = array_namespace(encoder_outputs)
        t, n = encoder_outputs.shape[:2]
        hidden = xp.broadcast_to(hidden[None, :, :], (t, n, hidden.shape[-1]))
        energy = xp.tanh(self.attn(xp.concat((hidden, encoder_outputs), axis=2)))
        scores = self.v(energy)[..., 0]
        scores = xp.where(mask, scores, -1e10)
        return F.softmax(scores, dim=0)


class Decoder(nn.Module):
    def __init__(self, vocabulary, embedding_dim, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.attention = Attention(hidden)
        self.cell = nn.GRUCell(embedding_dim + 2 * hidden, hidden)
        self.out = nn.Linear(embedding_dim + 3 * hidden, vocabulary)

    def forward(self, token, hidden, encoder_outputs, mask):
        xp = array_namespace(encoder_outputs)
        embedded = self.embedding(token)
        a = self.attention(hidden, encoder_outputs, mask)
        context = (a[..., None] * encoder_outputs).sum(0)
        hidden = self.cell(xp.concat((embedded, context), axis=1), hidden)
        return self.out(xp.concat((hidden, context, embedded), axis=1)), hidden


class Seq2Seq(nn.Module):
    def __init__(self, vocabulary=9):
        super().__init__()
        self.parts = nn.ModuleDict(
            {"encoder": Encoder(vocabulary, 4, 5), "decoder": Decoder(vocabulary, 4, 5)}
        )

    def forward(self, src, trg):
        encoder_outputs, hidden = self.parts["encoder"](src)
        mask = src != 0
        outputs = []
        token = trg[0, :]
        for t in range(1, trg.shape[0]):
            output, hidden = self.parts["decoder"](token, hidden, encoder_outputs, mask)
            outputs.append(output)
            token = trg[t, :]
        return array_namespace(hidden).stack(outputs)


def build():
    return Seq2Seq()


def loss(model, src, trg):
    logits = model(src, trg)
    value = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), trg[1:, :].reshape(-1), ignore_index=0
    )
    return value, logits
