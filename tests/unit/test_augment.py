"""Batched augmentation: each operation as torchvision's, and draws that hang on nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

from deadpixel.data import augment as module
from deadpixel.data import packs
from deadpixel.data.augment import (
    TRAINING_IMAGES,
    Augmentation,
    BatchedImages,
    Draws,
    RaggedImages,
    TorchvisionImages,
    augment,
    draw,
    torchvision_transform,
)
from packs import listed

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
PAPER = Augmentation(256, 224, (0.8, 1.0), 15.0, 0.5)
SMALL = Augmentation(64, 56)
SIDE = 64
WHOLE = Augmentation(SIDE, SIDE)
RATIO = [3 / 4, 4 / 3]
LIKELY = 0.001  # p-values below this fail; seeds are fixed, so a test passes always or never


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """As natural images are: hardly anything changes from one pixel to the next."""
    coarse = Image.fromarray(noise(6, 5, seed))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def tensor(pixels: np.ndarray) -> Tensor:
    """Float32 (3, h, w) of 0 to 255."""
    return torch.tensor(pixels).permute(2, 0, 1).float()


def ragged(*pixels: np.ndarray, shorter_side: int = 10_000) -> RaggedImages:
    return RaggedImages(pixels, range(len(pixels)), shorter_side, "cpu")


def fixed(box: list[tuple[int, int, int, int]], angle: float = 0.0, flip: bool = False) -> Draws:
    return Draws(np.array(box), np.full(len(box), angle), np.full(len(box), flip))


def grey_levels(batch: Tensor) -> Tensor:
    """Normalisation undone: 0 to 255."""
    return (batch * STD[:, None, None] + MEAN[:, None, None]) * 255


def run(pixels: np.ndarray, draws: Draws, augmentation: Augmentation) -> Tensor:
    """One image, (3, crop, crop) of 0 to 255."""
    return grey_levels(augment(ragged(pixels), np.array([0]), draws, augmentation))[0]


@pytest.mark.parametrize("side", [64, 150, 256])
def test_crop_and_resize_are_torchvisions(side: int) -> None:
    """To 1e-4 of full scale; boxes at the border, within, of one pixel, up and slightly down."""
    pixels = [noise(150, 200, 0), noise(31, 47, 1), noise(90, 70, 2), noise(9, 9, 3)]
    boxes = [(0, 0, 150, 200), (3, 5, 28, 40), (20, 0, 70, 69), (4, 7, 1, 2)]
    augmentation = Augmentation(side, side)
    result = augment(ragged(*pixels), np.arange(4), fixed(boxes), augmentation)
    for i, (image, box) in enumerate(zip(pixels, boxes, strict=True)):
        size = [side, side]
        expected = functional.resized_crop(tensor(image), *box, size=size, antialias=False)
        torch.testing.assert_close(grey_levels(result[i]) / 255, expected / 255, atol=1e-4, rtol=0)


@pytest.mark.parametrize("angle", [-15.0, -4.2, 0.0, 7.7, 15.0, 90.0])
def test_rotation_is_torchvisions(angle: float) -> None:
    """To 0.02 of 255 where torchvision fetches no padding; black where it fetches nothing else."""
    pixels = noise(SIDE, SIDE)
    result = run(pixels, fixed([(0, 0, SIDE, SIDE)], angle), WHOLE)
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
    result = run(white, fixed([(0, 0, SIDE, SIDE)], angle), WHOLE)[0].round()
    turned = functional.rotate(Image.fromarray(white), angle)
    expected = torch.tensor(np.asarray(turned)[..., 0]).float()
    assert set(result.unique().tolist()) <= {0.0, 255.0}
    assert (result != expected).sum() <= 4


def test_nothing_to_do_is_exact() -> None:
    """No rotation, no resize: the image's own pixels, normalised."""
    pixels = noise(SIDE, SIDE)
    result = augment(ragged(pixels), np.array([0]), fixed([(0, 0, SIDE, SIDE)]), WHOLE)
    assert result.dtype == torch.float32
    expected = functional.normalize(tensor(pixels) / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(result[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("crop", [1, 31, 40, 63, 64])
@pytest.mark.parametrize("flip", [False, True])
def test_flip_and_centre_crop_are_exact(crop: int, flip: bool) -> None:
    pixels = noise(SIDE, SIDE)
    draws = fixed([(0, 0, SIDE, SIDE)], flip=flip)
    result = run(pixels, draws, Augmentation(SIDE, crop)).round()
    expected = functional.center_crop(tensor(pixels), crop)
    if flip:
        expected = functional.center_crop(functional.hflip(tensor(pixels)), crop)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [-15.0, 9.0])
@pytest.mark.parametrize("box", [(0, 0, 60, 80), (5, 2, 50, 61), (11, 20, 49, 55)])
def test_all_composed_are_torchvisions(
    box: tuple[int, int, int, int], angle: float, flip: bool
) -> None:
    """On average within 0.3 of 255 of its steps, which interpolate twice.

    Within 3 of them where rotation takes the nearest pixel, as it does in the reference.
    Another flip or angle is 30 and more away.
    """
    pixels = smooth(60, 80)
    result = run(pixels, fixed([box], angle, flip), SMALL)

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
        alike = step_by_step(torch.ones(1, 60, 80), interpolation)[0] == 1
        assert alike.float().mean() > 0.9
        assert (result - expected)[:, alike].abs().mean() < most
    for other in (fixed([box], -angle, flip), fixed([box], angle, not flip)):
        assert (run(pixels, other, SMALL) - result).abs().mean() > 20


def test_mean_image_is_torchvisions() -> None:
    """Over many epochs both make the same image on average, each of its own draws."""
    augmentation = Augmentation(64, 56, flip=0.0)
    settings = {"seed": 0, "device": "cpu"}
    mean, reference = (
        torch.stack([grey_levels(chosen(epoch, [0]))[0] for epoch in range(300)]).mean(0)
        for chosen in (
            kind([smooth(70, 90)], [0], [0], augmentation, **settings)
            for kind in TRAINING_IMAGES.values()
        )
    )
    assert (mean - reference).abs().mean() < 4
    assert (mean.flip(-1) - reference).abs().mean() > 40


def torchvisions_boxes(size: tuple[int, int], count: int) -> np.ndarray:
    blank = torch.empty(3, *size)
    torch.manual_seed(0)
    get_params = transforms.RandomResizedCrop.get_params
    return np.array([get_params(blank, [0.8, 1.0], RATIO) for _ in range(count)])


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (300, 300), (260, 170), (180, 275)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    """Places, sizes, areas and ratios; at 260 by 170 the fallback is common."""
    count = 2000
    sizes = np.tile(size, (count, 1))
    ours = draw(PAPER, 0, 3, np.arange(count), sizes).box
    theirs = torchvisions_boxes(size, count)
    assert ours.dtype == np.int64
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= size).all()

    def features(boxes: np.ndarray) -> list[np.ndarray]:
        top, left, height, width = boxes.T
        rooms = (size[0] - height + 1, size[1] - width + 1)
        return [
            top,
            left,
            height,
            width,
            height * width,
            width / height,
            top / rooms[0],
            left / rooms[1],
        ]

    for mine, other in zip(features(ours), features(theirs), strict=True):
        assert stats.ks_2samp(mine, other).pvalue > LIKELY
        error = np.hypot(mine.std(), other.std()) / np.sqrt(count)
        assert abs(mine.mean() - other.mean()) <= 4 * error
        errors = [x.std() * np.sqrt((stats.kurtosis(x) + 2) / (4 * count)) for x in (mine, other)]
        assert abs(mine.std() - other.std()) <= 4 * np.hypot(*errors) + 1e-12


@pytest.mark.parametrize("size", [(100, 400), (400, 101), (7, 100)])
def test_boxes_fall_back_as_torchvisions(size: tuple[int, int]) -> None:
    """Where no box of four fifths of the area has an allowed ratio: the same one each time."""
    ours = draw(PAPER, 0, 0, np.arange(5), np.tile(size, (5, 1))).box
    assert np.array_equal(ours, torchvisions_boxes(size, 5))


def test_tiny_images_have_boxes() -> None:
    sizes = np.array([(1, 1), (1, 2), (2, 1), (3, 2), (1, 50)] * 40)
    box = draw(PAPER, 0, 0, np.arange(len(sizes)), sizes).box
    assert (box[:, 2:] >= 1).all()
    assert (box[:, :2] >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= sizes).all()


def test_angles_and_flips_are_uniform() -> None:
    count = 4000
    draws = draw(PAPER, 0, 0, np.arange(count), np.full((count, 2), 300))
    torch.manual_seed(0)
    theirs = [transforms.RandomRotation.get_params([-15.0, 15.0]) for _ in range(count)]
    assert stats.ks_2samp(draws.angle, theirs).pvalue > LIKELY
    assert stats.kstest(draws.angle, "uniform", (-15, 30)).pvalue > LIKELY
    assert stats.binomtest(int(draws.flip.sum()), count).pvalue > LIKELY
    assert abs(np.corrcoef(draws.angle, draws.flip)[0, 1]) < 4 / np.sqrt(count)
    assert not draw(Augmentation(flip=0.0), 0, 0, np.arange(9), np.full((9, 2), 9)).flip.any()
    assert draw(Augmentation(flip=1.0), 0, 0, np.arange(9), np.full((9, 2), 9)).flip.all()


def test_parts_of_a_draw_are_independent() -> None:
    """Row, column, height, width, angle and flip, of images in which many boxes fit."""
    count = 4000
    draws = draw(PAPER, 1, 2, np.arange(count), np.full((count, 2), 1000))
    top, left, height, width = draws.box.T
    area, ratio = height * width, width / height
    row, column = (top + 0.5) / (1001 - height), (left + 0.5) / (1001 - width)
    parts = [row, column, area, ratio, draws.angle, draws.flip]
    correlations = np.corrcoef(parts) - np.eye(6)
    assert np.abs(correlations).max() < 4 / np.sqrt(count)


@pytest.mark.parametrize("which", ["seed", "epoch", "image"])
def test_draws_are_independent(which: str) -> None:
    """Along seeds, epochs and images: uniform, and one tells nothing of the next."""
    count = 4000
    sizes = np.full((1, 2), 300)
    if which == "image":
        angles = draw(PAPER, 5, 7, np.arange(count), np.repeat(sizes, count, axis=0)).angle
    else:
        along = {"seed": lambda i: (i, 7), "epoch": lambda i: (5, i)}[which]
        angles = np.array(
            [draw(PAPER, *along(i), np.array([3]), sizes).angle[0] for i in range(count)]
        )
    assert stats.kstest(angles, "uniform", (-15, 30)).pvalue > LIKELY
    assert abs(np.corrcoef(angles[1:], angles[:-1])[0, 1]) < 4 / np.sqrt(count)


@pytest.fixture(scope="module", params=TRAINING_IMAGES)
def kind(request: pytest.FixtureRequest) -> type[BatchedImages | TorchvisionImages]:
    return TRAINING_IMAGES[request.param]


PIXELS = [noise(40 + 3 * i, 75 - 4 * i, i) for i in range(9)]


def build(kind: type[BatchedImages | TorchvisionImages], seed: int = 0) -> BatchedImages:
    return kind(PIXELS, range(9), range(9), SMALL, seed=seed, device="cpu")


def test_images_hang_on_seed_epoch_and_image_alone(kind: type[BatchedImages]) -> None:
    """To the bit: not on batch, order, other epochs, other objects or torch's own generator."""
    chosen = build(kind)
    whole = chosen(4, list(range(9)))
    assert whole.shape == (9, 3, 56, 56)
    assert whole.dtype == torch.float32
    torch.manual_seed(1)
    chosen(5, [1, 2])
    assert torch.equal(chosen(4, [7, 0, 3, 3]), whole[[7, 0, 3, 3]])
    assert torch.equal(chosen(4, np.array([5])), whole[5:6])
    assert torch.equal(chosen(4, torch.tensor([6, 8])), whole[[6, 8]])
    assert torch.equal(build(kind)(4, range(9)), whole)
    for other in (chosen(3, range(9)), chosen(0, range(9)), build(kind, 1)(4, range(9))):
        assert all((a - b).abs().max() > 0.1 for a, b in zip(other, whole, strict=True))


@pytest.mark.parametrize("pixels", [1, 3 * 56 * 56])
def test_images_hang_not_on_the_chunk(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    expected = build(BatchedImages)(0, range(9))
    monkeypatch.setitem(module._PIXELS_AT_ONCE, "cpu", pixels)
    assert torch.equal(build(BatchedImages)(0, range(9)), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_images_are_the_same_on_a_gpu(kind: type[BatchedImages]) -> None:
    expected = build(kind)(0, range(9))
    chosen = kind(PIXELS, range(9), range(9), SMALL, seed=0, device="cuda")
    assert chosen.labels.device.type == "cuda"
    difference = (chosen(0, range(9)).cpu() - expected).abs()
    assert (difference > 1e-3).float().mean() < 1e-4  # a border pixel may fall either way


def test_generator_of_the_caller_goes_on(kind: type[BatchedImages]) -> None:
    """Nothing is drawn from it, and nothing reseeds it."""
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = torch.rand(1)
    build(kind)(0, [0, 1])
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_seeds_and_epochs_may_be_large(kind: type[BatchedImages]) -> None:
    results = [build(kind, seed)(10_000, [0]) for seed in (0, 2**32 - 1, 2**32, 2**63)]
    assert len({result.sum().item() for result in results}) == 4


def test_images_of_a_pack_are_chosen(tmp_path: Path, kind: type[BatchedImages]) -> None:
    """By their places in it; labels go along."""
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in range(9)]
    packs.pack(listed(names, tmp_path), tmp_path, tmp_path / "images.arrow", {})
    pack = packs.Pack(tmp_path / "images.arrow")
    chosen = kind(pack, [5, 2, 7], [50, 20, 70], SMALL, seed=0, device="cpu")
    assert chosen.labels.tolist() == [50, 20, 70]
    assert chosen.labels.dtype == torch.int64
    direct = kind([PIXELS[i] for i in (5, 2, 7)], range(3), [0] * 3, SMALL, seed=0, device="cpu")
    assert torch.equal(chosen(1, [2, 0]), direct(1, [2, 0]))


def test_reference_is_torchvisions_chain() -> None:
    """Operation by operation, of the parameters that torchvision draws in this order."""
    pixels = noise(70, 90)
    torch.manual_seed(11)
    result = torchvision_transform(SMALL)(pixels)
    torch.manual_seed(11)
    image = Image.fromarray(pixels)
    box = transforms.RandomResizedCrop.get_params(image, [0.8, 1.0], RATIO)
    image = functional.resized_crop(image, *box, size=[64, 64])
    image = functional.rotate(image, transforms.RandomRotation.get_params([-15.0, 15.0]))
    torch.randperm(4)  # the order in which ColorJitter would change this and that
    image = functional.hflip(image) if torch.rand(1) < 0.5 else image
    expected = functional.to_tensor(functional.center_crop(image, 56))
    assert torch.equal(result, functional.normalize(expected, MEAN.tolist(), STD.tolist()))


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


def test_shrunk_images_look_like_torchvisions() -> None:
    """Stripes too fine for the output turn grey in both; a bare fetch would show some of them."""
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    grey = BatchedImages([stripes], [0], [0], Augmentation(64, 24), seed=0, device="cpu")(0, [0])
    assert (grey_levels(grey) - 127.5).abs().max() < 12
    assert Augmentation(256, 224, (0.8, 1.0)).shorter_side == 287
    assert Augmentation(256, 224, (0.25, 1.0)).shorter_side == 512
