"""Two results of theoretical fields: margins of tiles, and the sizes of images that are of use."""

import contextlib
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deadpixel import receptive_field, tiles
from deadpixel.errors import InputError


def _conv(kernel: int, stride: int = 1, padding: int | None = None, channels: int = 4) -> nn.Conv2d:
    padding = kernel // 2 if padding is None else padding
    return nn.Conv2d(channels, 4, kernel, stride, padding)


class Bridged(nn.Module):
    """An encoder and decoder whose wide shortcut hides the decoder's pattern of two."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep, self.out = _conv(11, channels=3), _conv(3, 2, channels=3), _conv(3)

    def forward(self, x: Tensor) -> Tensor:
        deep = functional.interpolate(self.deep(x).relu(), scale_factor=2.0, mode="nearest")
        return self.out(deep + self.wide(x))


@pytest.mark.parametrize("channels", [1, 12])
def test_images_may_have_any_number_of_channels(channels: int) -> None:
    """The same as of three, also where the network reads the image pixel by pixel first."""

    def build(channels: int) -> nn.Sequential:
        return nn.Sequential(nn.ReLU(), _conv(5, 2, channels=channels), _conv(3, 2))

    other = {"channels": channels}
    field = receptive_field.theoretical(build(channels), "2", (32, 32), **other)
    assert field == receptive_field.theoretical(build(3), "2", (32, 32))
    assert tiles.halo(build(channels), "2", (32, 32), **other) == tiles.halo(
        build(3), "2", (32, 32)
    )
    sizes = tiles.input_sizes(build(channels), "2", **other)
    assert sizes == tiles.input_sizes(build(3), "2")


NETWORKS = {
    "residual, strided": lambda: nn.Sequential(
        _conv(7, 2, channels=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), _conv(3), nn.ReLU(), _conv(3, 2)
    ),
    "without padding": lambda: nn.Sequential(_conv(5, 2, 0, channels=3), nn.ReLU(), _conv(3, 1, 0)),
    "even kernels": lambda: nn.Sequential(_conv(4, 2, 1, channels=3), nn.ReLU(), _conv(2, 2, 0)),
    "rows unlike columns": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (3, 7), (1, 2), (0, 3)), nn.ReLU(), nn.Conv2d(4, 4, (5, 1), (3, 1), (2, 0))
    ),
    "encoder and decoder": Bridged,
    "unlike from place to place": lambda: nn.Sequential(
        _conv(1, 2, channels=3), nn.Upsample(scale_factor=2), _conv(3)
    ),
    "enlarged": lambda: nn.Sequential(
        _conv(3, 4, channels=3), nn.Upsample(scale_factor=2, mode="bilinear"), _conv(3)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_with_their_halo_make_up_the_whole_map(name: str) -> None:
    """Tiles of unlike sizes, those at the border without a margin outside, in float64."""
    torch.manual_seed(0)
    model = NETWORKS[name]().double().eval()
    halo = tiles.halo(model, "output", (96, 96))
    (down, across), size = halo.stride, (96, 120)
    image = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = model(image)
    field = receptive_field.theoretical(model, "output", (96, 96))
    per_row, per_column = down / field.stride[0], across / field.stride[1]
    rows = [0, 3 * down, 8 * down, size[0]]
    columns = [0, 2 * across, 5 * across, size[1]]
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            start = max(0, top - halo.top), max(0, left - halo.left)
            end = min(size[0], bottom + halo.bottom), min(size[1], right + halo.right)
            with torch.no_grad():
                tile = model(image[..., start[0] : end[0], start[1] : end[1]])
            first = round(top / down * per_row), round(left / across * per_column)
            last = round(bottom / down * per_row), round(right / across * per_column)
            truth = whole[..., first[0] : last[0], first[1] : last[1]]
            moved = round(start[0] / down * per_row), round(start[1] / across * per_column)
            kept = tile[..., first[0] - moved[0] :, first[1] - moved[1] :]
            kept = kept[..., : truth.shape[2], : truth.shape[3]]
            torch.testing.assert_close(kept, truth, rtol=1e-12, atol=1e-12)


def test_a_margin_one_stride_smaller_is_too_small() -> None:
    torch.manual_seed(0)
    model = NETWORKS["residual, strided"]().double().eval()
    halo = tiles.halo(model, "output", (96, 96))
    image = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    start = 64 - halo.top + halo.stride[0]
    with torch.no_grad():
        whole, tile = model(image), model(image[:, :, start:])
    assert not torch.allclose(whole[:, :, 8], tile[:, :, 8 - start // 8])


class Complex(nn.Module):
    """A convolution with complex weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x.to(self.weight.dtype), self.weight, stride=2, padding=1).real


def test_complex_weights_make_no_difference() -> None:
    same = nn.Sequential(_conv(3, 2, channels=3))
    model = nn.Sequential(Complex())
    assert tiles.halo(model, "0") == tiles.halo(same, "0")
    assert tiles.input_sizes(model, "0") == tiles.input_sizes(same, "0")


def test_there_is_no_halo_for_what_sees_the_whole_image() -> None:
    pooled = nn.Sequential(_conv(3, channels=3), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(InputError, match=r"'output' .* whole input"):
        tiles.halo(pooled, "output", (32, 32))
    windows = nn.Sequential(_conv(3, channels=3), nn.AdaptiveAvgPool2d((11, 10)))
    with pytest.raises(InputError, match="do not repeat"):
        tiles.halo(windows, "output", (48, 48))


def _dead_taps(model: nn.Module, length: int) -> bool:
    """Whether some weight of a convolution sees nothing but padding."""
    image = torch.ones(1, 3, length, length, dtype=torch.float64)
    model = model.double()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 1.0)
    model.zero_grad()
    model(image).sum().backward()
    return any(bool((p.grad == 0).any()) for p in model.parameters() if p.ndim == 4)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(_conv(7, 2, channels=3), nn.AvgPool2d(3, 2, 1), _conv(3, 2), _conv(3, 2)),
        nn.Sequential(_conv(3, 2, channels=3), nn.Conv2d(4, 4, 3, 1, 4, dilation=4), _conv(5, 2)),
        nn.Sequential(_conv(3, 1, channels=3), _conv(4, 4, 0)),
        nn.Sequential(nn.Conv2d(3, 4, 2, 6, 4, dilation=4)),  # whose windows leave rows out
        nn.Sequential(nn.Conv2d(3, 4, 2, 6, 4), _conv(3)),
    ],
)
def test_from_the_smallest_size_on_every_weight_sees_the_image(model: nn.Module) -> None:
    smallest = tiles.input_sizes(model, "output").smallest[0]
    assert not _dead_taps(model, smallest)
    with contextlib.suppress(RuntimeError):  # the network may not run at that size
        assert _dead_taps(model, smallest - 1)


@pytest.mark.parametrize(("first", "stride", "last"), [(9, 1, 5), (9, 2, 5), (9, 4, 5), (7, 2, 3)])
def test_up_to_the_largest_size_the_central_feature_sees_all_of_the_image(
    first: int, stride: int, last: int
) -> None:
    """On both sides of it, also where no feature lies in the middle of the image."""
    model = nn.Sequential(_conv(first, stride, channels=3), _conv(5), _conv(last)).double()
    largest = tiles.input_sizes(model, "output").largest[0]

    def sees_all(length: int) -> bool:
        for parameter in model.parameters():
            nn.init.constant_(parameter, 1.0)
        image = torch.ones(1, 3, length, length, dtype=torch.float64, requires_grad=True)
        features = model(image)
        features[0, 0, features.shape[2] // 2, features.shape[3] // 2].backward()
        return bool((image.grad[0, 0] != 0).all())

    assert sees_all(largest)
    assert not any(sees_all(length) for length in range(largest + 1, largest + 9))


def test_rows_and_columns_have_a_range_of_their_own() -> None:
    """From the size on where each outer weight sees one pixel, to that of the field."""
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 9), padding=(1, 4)))
    assert tiles.input_sizes(model, "output") == tiles.InputSizes((2, 5), (3, 9))


def test_what_sees_the_whole_image_does_so_at_any_size() -> None:
    model = nn.Sequential(_conv(3, 2, channels=3), nn.GroupNorm(1, 4))
    assert tiles.input_sizes(model, "output").largest == (math.inf, math.inf)


def test_a_target_that_is_no_map_has_no_range() -> None:
    flat = nn.Sequential(_conv(3, channels=3), nn.Flatten(2))
    with pytest.raises(InputError, match="target 'output' yields"):
        tiles.input_sizes(flat, "output")
