"""Networks to kill the training of, chosen by DEADPIXEL_FAULT_NETWORK: `plain` if none is."""

import os

from small import NETWORK

_SLOW = """
import contextlib
import time
from pathlib import Path

import torch
from torch import nn


def wait():
    with contextlib.suppress(FileNotFoundError):
        time.sleep(float(Path("slow").read_text()))
"""
# Random draws of several layers, channels that one another's mean weights, depthwise kernels.
_INVERTED = """
class Excitation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x):
        gate = self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Block(nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        inner = 2 * width
        self.layers = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.SiLU(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner), nn.SiLU(), Excitation(inner),
            nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width),
        )
        self.drop = nn.Dropout2d(0.1)
        self.same = stride == 1

    def forward(self, x):
        y = self.drop(self.layers(x))
        return x + y if self.same else y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU())
        self.deep = nn.Sequential(Block(8, 1), Block(8, 2))
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 2)

    def forward(self, image):
        wait()
        return self.head(self.drop(self.deep(self.stem(image)).mean((2, 3))))


def build():
    return Net()
"""
# Nothing that a batch shares, and no maxima.
_GROUPED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.GELU())
        self.deep = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(8, 12, 3, 2, 1), nn.GroupNorm(3, 12), nn.GELU()
        )
        self.head = nn.Linear(12, 2)

    def forward(self, image):
        wait()
        return self.head(self.deep(self.stem(image)).mean((2, 3)))


def build():
    return Net()
"""
NETWORKS = {"plain": NETWORK, "inverted": _SLOW + _INVERTED, "grouped": _SLOW + _GROUPED}
CHOSEN = NETWORKS[os.environ.get("DEADPIXEL_FAULT_NETWORK", "plain")]
