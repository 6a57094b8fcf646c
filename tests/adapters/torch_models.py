"""Factories of a user's: `models.py` of the tests of modules, as a user writes it."""

# ruff: noqa: ANN001, ANN201, ANN202, ANN204

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, out=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8 * 16, out)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x, 2)
        return self.fc(self.drop(x.flatten(1)))


def cnn():
    return Net()


def normalised():
    net = Net()
    net.crucibench_input = {"mean": [0.3], "std": [0.4], "channels": 1, "size": [8, 8]}
    return net


def softmax():
    return nn.Sequential(Net(), nn.Softmax(dim=1))


def in_place():
    return nn.Sequential(nn.Hardtanh(0.2, 0.8, inplace=True), Net())


def stubborn():
    class Stubborn(Net):
        def train(self, mode=True):
            super().train(mode)
            self.drop.training = True
            return self

    return Stubborn()


def five():
    return Net(5)


def fails():
    return nn.Sequential(nn.Conv2d(3, 4, 3), Net())


def raises():
    raise FileNotFoundError("no weights here")


def nothing():
    return None


def rounded():
    class Rounded(Net):
        def forward(self, x):
            return super().forward(x.detach())

    return Rounded()
