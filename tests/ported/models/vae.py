"""A variational autoencoder (Kingma and Welling 2013) with convolutions; the noise is an argument."""

from collections import OrderedDict

import torch.nn as nn
import torch.nn.functional as F
from array_api_compat import array_namespace


class VAE(nn.Module):
    def __init__(self, latent=3):
        super().__init__()
        self.encoder = nn.Sequential(
            OrderedDict(
                [
                    ("conv1", nn.Conv2d(1, 4, 4, 2, 1)),
                    ("act1", nn.LeakyReLU(0.2, inplace=True)),
                    ("conv2", nn.Conv2d(4, 8, 4, 2, 1, bias=False)),
                    ("norm2", nn.InstanceNorm2d(8, affine=True)),
                    ("act2", nn.ELU(alpha=0.7)),
                    ("flat", nn.Flatten()),
                ]
            )
        )
        self.fc_mu = nn.Linear(8 * 4, latent)
        self.fc_var = nn.Linear(8 * 4, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32),
            nn.Unflatten(1, (8, 2, 2)),
            nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(4, 1, 4, 2, 1),
        )

    def encode(self, x):
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_var(h)

    def reparameterize(self, mu, logvar, eps):
        std = array_namespace(logvar).exp(0.5 * logvar)
        return mu + eps * std

    def decode(self, z):
        return F.sigmoid(self.decoder(z))

    def forward(self, x, eps):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar, eps)
        return self.decode(z), mu, logvar


def build():
    return VAE()


def loss(model, x, eps):
    recon_x, mu, logvar = model(x, eps)
    n = x.shape[0]
    BCE = F.binary_cross_entropy(recon_x.reshape(n, -1), x.reshape(n, -1), reduction="sum")
    KLD = -0.5 * (1 + logvar - mu**2 - array_namespace(mu).exp(logvar)).sum()
    return (BCE + KLD) / n, (recon_x, mu, logvar)
