"""A recogniser after Deep Speech 2 (Amodei et al. 2015): convolutions over time, GRU, CTC."""

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class Speech(nn.Module):
    def __init__(self, n_features=6, n_labels=5):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 3, kernel_size=(3, 5), stride=(2, 1), padding=(1, 2)),
            nn.BatchNorm2d(3),
            nn.Hardtanh(0, 20, inplace=True),
        )
        self.rnns = nn.ModuleList(
            [nn.GRU(9, 4, bidirectional=True, bias=False), nn.GRU(4, 4, bidirectional=True)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(4) for _ in self.rnns])
        self.fc = nn.Linear(4, n_labels, bias=False)

    def forward(self, x):
        xp = array_namespace(x)
        x = self.conv(x)
        n, c, f, t = x.shape
        x = xp.permute_dims(x.reshape(n, c * f, t), (2, 0, 1))
        for rnn, norm in zip(self.rnns, self.norms):
            x, _ = rnn(x)
            x = x.reshape(t, n, 2, -1).sum(2)
            x = norm(x.reshape(t * n, -1)).reshape(t, n, -1)
        return F.log_softmax(self.fc(x), dim=-1)


def build():
    return Speech()


def loss(model, x, targets, input_lengths, target_lengths):
    log_probs = model(x)
    return F.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank=0, zero_infinity=True
    ), log_probs
