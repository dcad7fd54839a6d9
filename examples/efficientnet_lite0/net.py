"""EfficientNet-Lite0, as its package has it, for images as this workflow normalises them."""

from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the workflow's, of each colour
OWN_MEAN, OWN_STD = 127 / 255, 128 / 255  # those it was trained with


class Network(EfficientNet):
    """The package's network behind a change of normalisation."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1000) of images (N, 3, H, W)."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        return super().forward((images * std + mean - OWN_MEAN) / OWN_STD)


def build() -> nn.Module:
    """The network before training; its weights are the `checkpoint` in config.yaml."""
    return Network.from_name("efficientnet-lite0")
