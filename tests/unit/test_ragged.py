"""Batches cut out of ragged images: each operation as torchvision's, and all of them at once."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from deadpixel.data.ragged import RaggedImages
from deadpixel.errors import InputError
from pixels import MEAN, STD, grey_levels, noise, smooth

SIDE = 64
WHOLE = (0, 0, SIDE, SIDE)
Box = tuple[int, int, int, int]


def tensor(pixels: np.ndarray) -> Tensor:
    """Float32 (3, h, w) of 0 to 255."""
    return torch.tensor(pixels).permute(2, 0, 1).float()


def ragged(*pixels: np.ndarray, shorter_side: int = 10_000) -> RaggedImages:
    return RaggedImages(pixels, range(len(pixels)), shorter_side, "cpu")


def fetch(
    pixels: np.ndarray,
    box: Box = WHOLE,
    angle: float = 0.0,
    flip: bool = False,
    side: int = SIDE,
    crop: int = SIDE,
) -> Tensor:
    """One image, (3, crop, crop) of 0 to 255."""
    how = np.array([0]), np.array([box]), np.array([angle]), np.array([flip])
    return grey_levels(ragged(pixels).fetch(*how, side=side, crop=crop))[0]


@pytest.mark.parametrize("side", [64, 150, 256])
def test_crop_and_resize_are_torchvisions(side: int) -> None:
    """To 1e-4 of full scale; boxes at the border, within, of one pixel, up and slightly down."""
    pixels = [noise(150, 200, 0), noise(31, 47, 1), noise(90, 70, 2), noise(9, 9, 3)]
    boxes = [(0, 0, 150, 200), (3, 5, 28, 40), (20, 0, 70, 69), (4, 7, 1, 2)]
    still = np.zeros(4), np.zeros(4, bool)
    result = ragged(*pixels).fetch(np.arange(4), np.array(boxes), *still, side=side, crop=side)
    for i, (image, box) in enumerate(zip(pixels, boxes, strict=True)):
        size = [side, side]
        expected = functional.resized_crop(tensor(image), *box, size=size, antialias=False)
        torch.testing.assert_close(grey_levels(result[i]) / 255, expected / 255, atol=1e-4, rtol=0)


@pytest.mark.parametrize("n_bands", [1, 4, 12])
def test_each_band_is_fetched_as_if_it_were_one_of_three(n_bands: int) -> None:
    """Also of images that are shrunk."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (*size, n_bands), np.uint8) for size in ((50, 70), (90, 31))]
    how = np.array([1, 0]), np.array([(3, 4, 25, 20), (0, 0, 31, 40)])
    how = *how, np.array([9.0, -3.0]), np.array([True, False])
    mean, std = np.linspace(0.1, 0.6, n_bands), np.linspace(0.2, 0.3, n_bands)
    images = RaggedImages(pixels, [0, 1], 40, "cpu", n_bands=n_bands)
    found = images.fetch(*how, side=32, crop=30, mean=mean, std=std)
    assert found.shape == (2, n_bands, 30, 30)
    for band in range(n_bands):
        alone = ragged(*(np.repeat(p[..., [band]], 3, axis=2) for p in pixels), shorter_side=40)
        three = alone.fetch(*how, side=32, crop=30, mean=[mean[band]] * 3, std=[std[band]] * 3)
        assert torch.equal(found[:, band], three[:, 0])


def test_images_of_other_bands_are_refused() -> None:
    with pytest.raises(InputError, match="has 4 bands and `preprocess` a mean of 3"):
        ragged(np.zeros((20, 20, 4), np.uint8))


@pytest.mark.parametrize("angle", [-15.0, -4.2, 0.0, 7.7, 15.0, 90.0])
def test_rotation_is_torchvisions(angle: float) -> None:
    """To 0.02 of 255 where torchvision fetches no padding; black where it fetches nothing else."""
    pixels = noise(SIDE, SIDE)
    result = fetch(pixels, angle=angle)
    bilinear = InterpolationMode.BILINEAR
    covered = functional.rotate(torch.ones(1, SIDE, SIDE), angle, bilinear)[0]
    expected = functional.rotate(tensor(pixels), angle, bilinear)
    within, outside = covered > 1 - 1e-5, covered == 0
    assert within.float().mean() > 0.8
    assert (result - expected)[:, within].abs().max() < 0.02
    assert (result[:, outside].abs() < 1e-4).all()


@pytest.mark.parametrize("angle", [-15.0, -4.2, 0.0, 7.7, 15.0])
def test_black_corners_are_torchvisions(angle: float) -> None:
    """Its default, the nearest pixel, is black at the same places; ties may fall either way."""
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    result = fetch(white, angle=angle)[0].round()
    turned = functional.rotate(Image.fromarray(white), angle)
    expected = torch.tensor(np.asarray(turned)[..., 0]).float()
    assert set(result.unique().tolist()) <= {0.0, 255.0}
    assert (result != expected).sum() <= 4


def test_nothing_to_do_is_exact() -> None:
    """No rotation, no resize: the image's own pixels, normalised."""
    pixels = noise(SIDE, SIDE)
    how = np.array([0]), np.array([WHOLE]), np.zeros(1), np.zeros(1, bool)
    result = ragged(pixels).fetch(*how, side=SIDE, crop=SIDE)
    assert result.dtype == torch.float32
    expected = functional.normalize(tensor(pixels) / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(result[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("crop", [1, 31, 40, 63, 64])
@pytest.mark.parametrize("flip", [False, True])
def test_flip_and_centre_crop_are_exact(crop: int, flip: bool) -> None:
    pixels = noise(SIDE, SIDE)
    result = fetch(pixels, flip=flip, crop=crop).round()
    expected = functional.center_crop(tensor(pixels), crop)
    if flip:
        expected = functional.center_crop(functional.hflip(tensor(pixels)), crop)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [-15.0, 9.0])
@pytest.mark.parametrize("box", [(0, 0, 60, 80), (5, 2, 50, 61), (11, 20, 49, 55)])
def test_all_composed_are_torchvisions(box: Box, angle: float, flip: bool) -> None:
    """On average within 0.3 of 255 of its steps, which interpolate twice.

    Within 3 of them where rotation takes the nearest pixel, as it does in the reference.
    Another flip or angle is 30 and more away.
    """
    pixels = smooth(60, 80)
    result = fetch(pixels, box, angle, flip, crop=56)

    def step_by_step(image: Tensor, interpolation: InterpolationMode) -> Tensor:
        image = functional.resized_crop(image, *box, size=[64, 64], antialias=False)
        image = functional.rotate(image, angle, interpolation)
        image = functional.hflip(image) if flip else image
        return functional.center_crop(image, [56, 56])

    for interpolation, most in [
        (InterpolationMode.BILINEAR, 0.3),
        (InterpolationMode.NEAREST, 3.0),
    ]:
        expected = step_by_step(tensor(pixels), interpolation)
        comparable = step_by_step(torch.ones(1, 60, 80), interpolation)[0] == 1
        assert comparable.float().mean() > 0.9
        assert (result - expected)[:, comparable].abs().mean() < most
    for other in ((-angle, flip), (angle, not flip)):
        assert (fetch(pixels, box, *other, crop=56) - result).abs().mean() > 20


def test_large_images_are_shrunk_once() -> None:
    """As torchvision shrinks, with antialiasing; others are held as they are."""
    pixels = [noise(300, 200), noise(72, 100), noise(71, 400), noise(90, 90)]
    held = ragged(*pixels, shorter_side=72)
    assert held.sizes.tolist() == [[108, 72], [72, 100], [71, 400], [72, 72]]
    for i, image in enumerate(pixels):
        start, size = held.offsets[i], held.sizes[i].tolist()
        found = held.pixels[start : start + size[0] * size[1], :3].view(*size, 3).numpy()
        expected = functional.resize(Image.fromarray(image), 72) if i in (0, 3) else image
        assert np.array_equal(found, np.asarray(expected))
    assert len(held.pixels) == held.sizes.prod(axis=1).sum()
