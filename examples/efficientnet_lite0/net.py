"""EfficientNet-Lite0, as its package has it; its weights are the `checkpoint` in config.yaml."""

from efficientnet_lite_pytorch import EfficientNet
from torch import nn


def build() -> nn.Module:
    """The network before training: logits (N, 1000) of images (N, 3, H, W)."""
    return EfficientNet.from_name("efficientnet-lite0")
