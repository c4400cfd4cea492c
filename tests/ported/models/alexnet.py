"""A small AlexNet (Krizhevsky et al. 2012): in-place ReLUs, local response norm, dropout."""

import torch.nn as nn


class AlexNet(nn.Module):
    def __init__(self, num_classes=10, dropout=0.5):
        super(AlexNet, self).__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=11, stride=4, padding=2),
            nn.ReLU(True),
            nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 12, 5, 1, 2, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ReLU(True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(16 * 6 * 6, 32),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(32, num_classes),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, mean=0, std=0.01)
                nn.init.constant_(layer.bias, 0)
        nn.init.constant_(self.features[4].bias, 1)
        self.flatten = nn.Flatten()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        return self.classifier(self.flatten(x))


def build(**settings):
    return AlexNet(**settings)


def loss(model, x, labels):
    logits = model(x)
    return model.criterion(logits, labels), logits
