"""Attention, in windows and global, and small networks of many families, against gradients.

The truth is the support of the gradient of the central feature in float64, over a few random
images, for random weights none of which is zero.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import timm
import torch
import torchvision
from timm.models import cait, convnext, hiera, mambaout, repvit, swin_transformer_v2_cr, xcit
from timm.models import vision_transformer as vit
from torch import Tensor, nn
from torch.nn import functional

from deadpixel import receptive_field
from deadpixel.trf import attention

IMAGES = 4
NEGLIGIBLE = 1e-30  # of the largest gradient: less than any mask of -100 leaves
WHOLE = (math.inf, math.inf)


class Net(nn.Module):
    """A function of a map of 4 channels, each of which depends on 3 x 3 px."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.stem = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.function(self.stem(image))


class _ReachedError(Exception):
    pass


def _drawn(model: nn.Module) -> nn.Module:
    """No weight is zero, as it is in many a new network."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise + 0.05)
    return model.eval()


def _support(
    model: nn.Module, target: str, size: tuple[int, int], read: Callable[[Tensor], Tensor]
) -> list[tuple[int, int]]:
    model = model.double().requires_grad_(requires_grad=False)
    kept: list[Tensor] = []
    module = model if target == "output" else model.get_submodule(target)

    def keep(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        kept.append(output)
        raise _ReachedError

    module.register_forward_hook(keep)
    total = torch.zeros(size, dtype=torch.float64)
    for seed in range(IMAGES):
        generator = torch.Generator().manual_seed(seed)
        image = torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)
        image.requires_grad_()
        with pytest.raises(_ReachedError):
            model(image)
        features = read(kept[-1])
        weights = torch.randn(features.shape, generator=generator, dtype=torch.float64)
        (features * weights).sum().backward()
        total += image.grad[0].abs().amax(0)
    reached = total > NEGLIGIBLE * total.max()
    extents = [reached.any(1 - axis).nonzero().flatten() for axis in (0, 1)]
    return [(int(extent[0]), int(extent[-1])) for extent in extents]


def _within(
    field: receptive_field.ReceptiveField, size: tuple[int, int]
) -> list[tuple[float, float]]:
    """First and last row and column of a field, as far as the image goes."""
    found = []
    for extent, center, length in zip(field.size, field.center, size, strict=True):
        reach = (extent - 1) / 2
        inside = (max(0.0, center - reach), min(length - 1.0, center + reach))
        found.append((0.0, length - 1.0) if math.isinf(extent) else inside)
    return found


def _of_map(features: Tensor) -> Tensor:
    return features[0, :, features.shape[2] // 2, features.shape[3] // 2]


def _of_channels_last(features: Tensor) -> Tensor:
    return features[0, features.shape[1] // 2, features.shape[2] // 2]


def _windows(x: Tensor) -> Tensor:
    """Attention in windows of 4 x 4 of a map (1, 4, 16, 12), by products and softmax."""
    windows = x.view(1, 4, 4, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(12, 16, 4)
    attended = (windows @ windows.mT).softmax(-1) @ windows
    return attended.view(1, 4, 3, 4, 4, 4).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def _grid(x: Tensor) -> Tensor:
    """Attention of 4 x 4 places that are 4 rows and 3 columns apart, in one operation."""
    grids = x.view(1, 4, 4, 4, 4, 3).permute(0, 3, 5, 2, 4, 1).reshape(12, 1, 16, 4)
    attended = functional.scaled_dot_product_attention(grids, grids, grids)
    return attended.view(1, 4, 3, 4, 4, 4).permute(0, 5, 3, 1, 4, 2).reshape(x.shape)


def _shifted(mask_value: float, *, ready_made: bool) -> Callable[[Tensor], Tensor]:
    """Windows shifted by two places; the mask keeps apart what the roll has brought together."""

    def shifted(x: Tensor) -> Tensor:
        regions = torch.arange(16) // 12 * 2 + torch.arange(16) // 14
        regions = (regions[:, None] * 4 + torch.arange(12) // 8 * 2 + torch.arange(12) // 10)[None]
        regions = regions.view(4, 4, 3, 4).permute(0, 2, 1, 3).reshape(12, 16)
        apart = regions[:, :, None] != regions[:, None]
        mask = torch.zeros(apart.shape, dtype=x.dtype).masked_fill(apart, mask_value)
        x = x.roll((-2, -2), (2, 3))
        windows = x.view(1, 4, 4, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(12, 16, 4)
        if ready_made:
            four = windows[:, None]
            attended = functional.scaled_dot_product_attention(four, four, four, mask[:, None])[
                :, 0
            ]
        else:
            attended = (windows @ windows.mT + mask).softmax(-1) @ windows
        x = attended.view(1, 4, 3, 4, 4, 4).permute(0, 5, 1, 3, 2, 4).reshape(1, 4, 16, 12)
        return x.roll((2, 2), (2, 3))

    return shifted


def _filled(x: Tensor) -> Tensor:
    """Each place attends to itself and to its neighbour on the left."""
    tokens = x.flatten(2).mT
    distance = torch.arange(192)[:, None] - torch.arange(192)
    far = (distance < 0) | (distance > 1)
    scores = (tokens @ tokens.mT).masked_fill(far, -math.inf)
    return (scores.softmax(-1) @ tokens).mT.reshape(x.shape)


def _causal(x: Tensor) -> Tensor:
    tokens = x.flatten(2).mT[:, None]
    attended = functional.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True)
    return attended[:, 0].mT.reshape(x.shape)


def _parts(x: Tensor) -> Tensor:
    """Each place with that half a map further on: neither neighbours nor the whole."""
    return x + x.view(1, 4, 2, 8, 2, 6).mean((2, 4)).repeat(1, 1, 2, 2)


EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "windows": _windows,
    "grid": _grid,
    "parts": _parts,
    "shifted, by products": _shifted(-100.0, ready_made=False),
    "shifted, ready made": _shifted(-math.inf, ready_made=True),
    "neighbours by a filled mask": _filled,
    "causal": _causal,
    "two layers of windows": lambda x: _shifted(-100.0, ready_made=False)(_windows(x)),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("moved", [0, 5])
def test_attention_in_windows_against_gradients(name: str, moved: int) -> None:
    """Rolled by some places, the central feature is one at the border of the map."""
    function = EXACT[name]
    model = _drawn(Net(lambda x: function(x).roll((moved, moved), (2, 3))))
    size = (16, 12)
    field = receptive_field.theoretical(model, "output", size)
    assert field.kind in ("exact", "whole input")
    assert _within(field, size) == _support(model, "output", size, _of_map)


def test_a_mask_that_only_weakens_hides_nothing() -> None:
    """Beyond -100 there is nothing left to see; -5 is a bias like any other."""
    model = Net(lambda x: _shifted(-5.0, ready_made=False)(x).roll(5, 3))
    assert receptive_field.theoretical(model, "output", (16, 12)).size[1] > 12


def test_places_stay_apart_however_many_layers_number_their_pairs() -> None:
    """The numbers of places are renumbered before they are rounded."""
    rows = torch.arange(3.0, dtype=torch.float64).view(3, 1) * 1e9
    numbers = attention._numbered(rows + 1, torch.arange(4.0, dtype=torch.float64).view(1, 4))
    assert numbers.max() < 12
    assert len(numbers.unique()) == 12


class Small(NamedTuple):
    """A family in small: how to build it, what to ask for, at what size, and what comes out."""

    build: Callable[[], nn.Module]
    target: str
    size: int
    read: Callable[[Tensor], Tensor] = _of_map
    kind: str = "exact"


def _token(place: int) -> Callable[[Tensor], Tensor]:
    return lambda features: features[0, place]


def _swin() -> nn.Module:
    return torchvision.models.SwinTransformer([2, 2], 4, [2, 2], [1, 1], [4, 4], num_classes=2)


def _swin_v2_cr() -> nn.Module:
    return swin_transformer_v2_cr.SwinTransformerV2Cr(
        32, patch_size=2, depths=(2, 2), num_heads=(1, 1), embed_dim=4, window_size=4, num_classes=2
    )


def _maxvit() -> nn.Module:
    return torchvision.models.MaxVit((32, 32), 4, 2, [4, 4], [1, 1], 4, 0.0, num_classes=2)


def _vit() -> nn.Module:
    return vit.VisionTransformer(32, 8, embed_dim=8, depth=2, num_heads=2, num_classes=2)


def _torchvision_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=2)


SMALL: dict[str, Small] = {
    "swin, first stage": Small(_swin, "features.1", 32, _of_channels_last),
    "swin, second stage": Small(_swin, "features.3", 64, _of_channels_last),
    "swinv2_cr, first stage": Small(_swin_v2_cr, "stages.0", 32),
    "swinv2_cr": Small(_swin_v2_cr, "stages.1", 32, kind="whole input"),
    "maxvit": Small(_maxvit, "blocks.0", 32, kind="whole input"),
    "vit": Small(_vit, "blocks.1", 32, _token(9), "whole input"),
    "vit of torchvision": Small(_torchvision_vit, "encoder.layers", 32, _token(9), "whole input"),
    "deit, distilled": Small(
        lambda: timm.create_model(
            "deit_tiny_distilled_patch16_224", img_size=32, embed_dim=8, num_heads=2, depth=1
        ),
        *("blocks.0", 32, _token(3), "whole input"),
    ),
    "cait": Small(
        lambda: cait.Cait(32, 8, embed_dim=8, depth=1, num_heads=2, num_classes=2),
        *("blocks.0", 32, _token(9), "whole input"),
    ),
    "xcit": Small(
        lambda: xcit.Xcit(32, 8, embed_dim=8, depth=1, num_heads=2, eta=0.5, num_classes=2),
        *("blocks.0", 32, _token(9), "whole input"),
    ),
    "hiera": Small(
        lambda: hiera.Hiera(
            (64, 64),
            embed_dim=4,
            num_heads=1,
            stages=(1, 1),
            q_pool=1,
            mask_unit_size=(4, 4),
            mask_unit_attn=(True, True),
            num_classes=2,
        ),
        *("blocks.1", 64, _token(9)),
    ),
    "convnext": Small(
        lambda: convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(4, 4, 4, 4), num_classes=2),
        *("stages.1", 64),
    ),
    "mambaout": Small(
        lambda: mambaout.MambaOut(depths=(1, 1, 1, 1), dims=(4, 4, 4, 4), num_classes=2),
        *("stages.1", 64, _of_channels_last),
    ),
    "repvit": Small(
        lambda: repvit.RepVit(embed_dim=(8, 8), depth=(1, 1), num_classes=2),
        *("stages.1", 64, _of_map, "whole input"),
    ),
    "mobilenetv4": Small(
        lambda: timm.create_model("mobilenetv4_conv_small_050", num_classes=2), "blocks.1", 96
    ),
    "efficientnetv2": Small(
        lambda: timm.create_model("efficientnetv2_rw_t", num_classes=2), "blocks.1", 96
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_of_many_families_against_gradients(name: str) -> None:
    build, target, length, read, kind = SMALL[name]
    torch.manual_seed(0)
    model, size = _drawn(build()), (length, length)
    field = receptive_field.theoretical(model, target, size)
    assert field.kind == kind
    truth = _support(model, target, size, read)
    if read in (_of_map, _of_channels_last) or kind == "whole input":
        assert _within(field, size) == truth
