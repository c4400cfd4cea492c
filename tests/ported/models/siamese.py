"""A siamese network with triplet losses (Schroff et al. 2015): one encoder called three times."""

import torch.nn as nn
import torch.nn.functional as F


class EmbeddingNet(nn.Module):
    def __init__(self):
        super(EmbeddingNet, self).__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 4, 5),
            nn.PReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Conv2d(4, 8, 3),
            nn.PReLU(8),
            nn.AvgPool2d(2),
        )
        self.fc = nn.Sequential(
            nn.Linear(8 * 2 * 2, 16), nn.BatchNorm1d(16), nn.PReLU(), nn.Linear(16, 2)
        )

    def forward(self, x):
        output = self.convnet(x)
        output = output.reshape(output.shape[0], -1)
        output = self.fc(output)
        return output

    def get_embedding(self, x):
        return F.normalize(self.forward(x), p=2, dim=1)


class TripletNet(nn.Module):
    def __init__(self, embedding_net):
        super(TripletNet, self).__init__()
        self.embedding_net = embedding_net

    def forward(self, x1, x2, x3):
        return tuple(self.embedding_net.get_embedding(x) for x in (x1, x2, x3))


class CosineTriplet(nn.Module):
    def __init__(self, margin=0.5):
        super().__init__()
        self.distance = lambda a, b: 1.0 - F.cosine_similarity(a, b)
        self.criterion = nn.TripletMarginWithDistanceLoss(
            distance_function=self.distance, margin=margin, swap=True
        )

    def forward(self, *triplet):
        return self.criterion(*triplet)


def build():
    return TripletNet(EmbeddingNet())


def loss(model, anchor, positive, negative):
    embedded = model(anchor, positive, negative)
    criterion = nn.TripletMarginLoss(margin=1.0, p=2)
    contrast = F.pairwise_distance(embedded[0], embedded[2]).mean()
    return criterion(*embedded) + CosineTriplet()(*embedded) - 0.1 * contrast, embedded
