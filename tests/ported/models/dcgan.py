"""DCGAN (Radford et al. 2015): generator and discriminator in one loss, weights drawn by `apply`."""

import torch.nn as nn


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


class Generator(nn.Module):
    def __init__(self, nz, ngf, nc):
        super(Generator, self).__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self, nc, ndf):
        super(Discriminator, self).__init__()
        self.main = nn.Sequential(
            nn.Conv2d(nc, ndf, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ndf * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
            nn.Flatten(0),
        )

    def forward(self, input):
        return self.main(input)


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("netG", Generator(5, 3, 2))
        self.add_module("netD", Discriminator(2, 3))
        self.netG.apply(weights_init)
        self.netD.apply(weights_init)

    def forward(self, real, noise):
        fake = self.netG(noise)
        return self.netD(real), self.netD(fake), fake


def build():
    return GAN()


def loss(model, real, noise, ones):
    on_real, on_fake, fake = model(real, noise)
    criterion = nn.BCELoss()
    return criterion(on_real, ones) + criterion(on_fake, 1 - ones), (on_real, on_fake, fake)
