"""What padding changes in which family of networks: the table of docs/kernels.md.

``python benchmarks/surgery.py`` prints it in Markdown. Networks are initialised at random.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import kernels
from deadpixel.networks import zoo

TORCHVISION = (
    *("resnet50", "googlenet", "inception_v3", "densenet121", "shufflenet_v2_x1_0"),
    *("squeezenet1_1", "mobilenet_v3_large"),
)
TIMM = (
    *("nf_resnet26", "resnetv2_50", "resnetv2_50x1_bit", "regnety_004", "tf_efficientnet_b0"),
    *("efficientnet_b0", "mobilenetv4_conv_small", "repvit_m1", "hrnet_w18_small", "convnext_tiny"),
    *("pnasnet5large", "vit_tiny_patch16_224"),
)


def networks() -> Mapping[str, Callable[[], nn.Module]]:
    """By where they come from and their names; each is made when it is looked at."""
    made = {f"torchvision {name}": lambda name=name: zoo.build(name) for name in TORCHVISION}
    made |= {
        f"timm {name}": lambda name=name: timm.create_model(name, pretrained=False).eval()
        for name in TIMM
    }
    lite = "efficientnet-lite0"
    return made | {lite: lambda: EfficientNet.from_name(lite).eval()}


def row(name: str, model: nn.Module) -> str:
    """Operations that changed and that stayed odd; seconds of the change alone."""
    side = getattr(model, "default_cfg", {}).get("input_size", (3, 224, 224))[-1]
    side = 299 if "inception" in name else side
    image = torch.zeros(1, 3, side, side)
    start = time.perf_counter()
    changed, _ = kernels.pad(model)
    seconds = time.perf_counter() - start
    odd, left = (kernels.odd_strided(network, image) for network in (model, changed))
    return f"| {name} | {len(odd) - len(left)} | {len(left)} | {seconds:.1f} |"


def main() -> None:
    """Print the table."""
    logging.getLogger("deadpixel").setLevel(logging.ERROR)
    print("| network | changed | left | s |", "|---|---|---|---|", sep="\n")
    for name, make in networks().items():
        torch.manual_seed(0)
        print(row(name, make()), flush=True)


if __name__ == "__main__":
    main()
