"""ResNets of one block a stage that differ in nothing but their stems: how uneven they see."""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


def patches() -> ResNet:
    """Patches of 4 x 4, as a ConvNeXt has them, in place of a convolution and a max-pool."""
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.conv1 = nn.Conv2d(3, 64, 4, 4, bias=False)
    network.maxpool = nn.Identity()
    return network


def wide() -> ResNet:
    """That of a resnet18: 7 x 7 with stride 2, then a max-pool of 3 x 3 with stride 2."""
    return ResNet(BasicBlock, [1, 1, 1, 1])


def narrow() -> ResNet:
    """3 x 3 with stride 2, as MobileNets and RegNets have it, then the same max-pool."""
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
    return network
