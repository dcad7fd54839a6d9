"""Maps in float64 against a loop over single images that uses nothing of the library.

    python benchmarks/exact.py [NAME ...]

Prints the largest difference of each map, relative to its largest value; ends with 1 if one is
above 1e-9. Modules and the places in what they yield are written here by hand, the library gets the
names of modules alone. Weights are random; gains, biases, statistics of norms and what starts as
zero are moved from the values that they start with.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import erf

Read = Callable[[Tensor], Tensor]  # the features (C,) of the place in what a module yields
LARGEST = 1e-9


def nchw(place: int) -> Read:
    return lambda maps: maps[0, :, place, place]


def nhwc(place: int) -> Read:
    return lambda maps: maps[0, place, place, :]


def token(number: int) -> Read:
    return lambda tokens: tokens[0, number, :]


TORCHVISION: Mapping[str, Mapping[str, Read]] = {
    "swin_t": {
        "features.1": nhwc(28),
        "features.3": nhwc(14),
        "features.5": nhwc(7),
        "features.7": nhwc(3),
        "permute": nchw(3),
    },
    "vit_b_32": {"encoder.layers.encoder_layer_5": token(1 + 3 * 7 + 3), "encoder": token(25)},
    "maxvit_t": {
        "blocks.0": nchw(28),
        "blocks.1": nchw(14),
        "blocks.2": nchw(7),
        "blocks.3": nchw(3),
    },
    "convnext_tiny": {"features.3": nchw(14), "features.5": nchw(7), "features.7": nchw(3)},
}
TIMM: Mapping[str, Mapping[str, Read]] = {
    "vit_small_patch16_224": {"blocks.5": token(1 + 7 * 14 + 7), "norm": token(106)},
    "swinv2_cr_tiny_ns_224": {"stages.1": nchw(14), "stages.2": nchw(7), "stages.3": nchw(3)},
    "xcit_tiny_12_p16_224": {"blocks.11": token(7 * 14 + 7), "norm": token(106)},
    "deit_tiny_patch16_224": {"blocks.5": token(106), "blocks.11": token(106)},
    "deit_tiny_distilled_patch16_224": {"blocks.5": token(2 + 105), "blocks.11": token(107)},
    "beit_base_patch16_224": {"blocks.5": token(106), "blocks.11": token(106)},
    "cait_xxs24_224": {"blocks.11": token(105), "blocks.23": token(105)},
    "efficientnetv2_rw_t": {"blocks.2": nchw(14), "blocks.4": nchw(7), "blocks.5": nchw(3)},
    "mobilenetv4_conv_small": {"blocks.1": nchw(14), "blocks.2": nchw(7), "blocks.3": nchw(3)},
    "repvit_m0_9": {"stages.1": nchw(14), "stages.2": nchw(7), "stages.3": nchw(3)},
    "mambaout_femto": {"stages.1": nhwc(14), "stages.2": nhwc(7), "stages.3": nhwc(3)},
    "hiera_tiny_224": {"blocks.10": token(3 * 7 + 3), "blocks.11": token(24)},
}
SIDE = 224


def main() -> None:
    names = sys.argv[1:] or [*TORCHVISION, *TIMM]
    print("| network | map | largest difference |", "|---|---|---|", sep="\n")
    all_equal = True
    for name in names:
        library, reads = ("torchvision", TORCHVISION) if name in TORCHVISION else ("timm", TIMM)
        for target, difference in differences(built(name), reads[name]).items():
            print(f"| {library} {name} | `{target}` | {difference:.1e} |", flush=True)
            all_equal &= difference <= LARGEST
    sys.exit(int(not all_equal))


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    make = torchvision.models.get_model if name in TORCHVISION else timm.create_model
    model = make(name).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter += 0.1 * torch.randn_like(parameter)
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer += 0.1 * torch.randn_like(buffer)
        elif buffer_name.endswith("running_var"):
            buffer += torch.rand_like(buffer)
    return model.double()


def differences(model: nn.Module, reads: Mapping[str, Read]) -> dict[str, float]:
    """By target; the output's is of the largest logit."""
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    ours = erf.accumulate(model, images, [*reads, "output"], batch_size=2, dtype=torch.float64)
    theirs = by_hand(model, images, {**reads, "output": lambda logits: logits[0].max()})
    return {
        target: float((torch.from_numpy(ours[target].mean) - field).abs().max() / field.max())
        for target, field in theirs.items()
    }


def by_hand(model: nn.Module, images: Tensor, reads: Mapping[str, Read]) -> dict[str, Tensor]:
    """Mean over images of the ReLU of the gradient's mean over colours, (H, W) by target."""
    values: dict[str, Tensor] = {}
    for target, read in reads.items():
        module = model if target == "output" else model.get_submodule(target)
        module.register_forward_hook(functools.partial(keep, values, target, read))
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.register_forward_hook(keep_gradient_right)
    fields = {target: torch.zeros(SIDE, SIDE, dtype=torch.float64) for target in reads}
    for image in images:
        pixels = image[None].clone().requires_grad_()
        model(pixels)
        for target, value in values.items():
            (gradient,) = torch.autograd.grad(value, pixels, retain_graph=True)
            fields[target] += gradient[0].mean(0).relu() / len(images)
    return fields


def keep(values: dict[str, Tensor], target: str, read: Read, *call: Any) -> None:
    _module, _arguments, output = call
    values[target] = read(output).mean()


def keep_gradient_right(*call: Any) -> None:
    """PyTorch 2.15 is wrong for one image whose gradient comes as tokens (XCiT), on CPUs."""
    call[-1].register_hook(torch.Tensor.contiguous)


if __name__ == "__main__":
    main()
