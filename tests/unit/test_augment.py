"""Augmentation: drawn as torchvision draws, by seed, epoch and image alone, and its reference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional

from deadpixel.data import evaluation, packs, ragged
from deadpixel.data.augment import (
    TRAINING_IMAGES,
    Augmentation,
    BatchedImages,
    draw,
    torchvision_transform,
)
from packs import listed
from pixels import MEAN, STD, grey_levels, noise, smooth

PAPER = Augmentation(256, 224, (0.8, 1.0), 15.0, 0.5)
SMALL = Augmentation(64, 56)
RATIO = [3 / 4, 4 / 3]
LIKELY = 0.001  # p-values below this fail; seeds are fixed, so a test passes always or never


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


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (300, 300), (260, 170), (180, 275)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    """Places, sizes, areas and ratios; at 260 by 170 the fallback is common."""
    count = 2000
    sizes = np.tile(size, (count, 1))
    ours = draw(PAPER, 0, 3, np.arange(count), sizes)[0]
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
    ours = draw(PAPER, 0, 0, np.arange(5), np.tile(size, (5, 1)))[0]
    assert np.array_equal(ours, torchvisions_boxes(size, 5))


def test_tiny_images_have_boxes() -> None:
    sizes = np.array([(1, 1), (1, 2), (2, 1), (3, 2), (1, 50)] * 40)
    box = draw(PAPER, 0, 0, np.arange(len(sizes)), sizes)[0]
    assert (box[:, 2:] >= 1).all()
    assert (box[:, :2] >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= sizes).all()


def test_angles_and_flips_are_uniform() -> None:
    count = 4000
    _, angles, flips = draw(PAPER, 0, 0, np.arange(count), np.full((count, 2), 300))
    torch.manual_seed(0)
    theirs = [transforms.RandomRotation.get_params([-15.0, 15.0]) for _ in range(count)]
    assert stats.ks_2samp(angles, theirs).pvalue > LIKELY
    assert stats.kstest(angles, "uniform", (-15, 30)).pvalue > LIKELY
    assert stats.binomtest(int(flips.sum()), count).pvalue > LIKELY
    assert abs(np.corrcoef(angles, flips)[0, 1]) < 4 / np.sqrt(count)
    assert not draw(Augmentation(flip=0.0), 0, 0, np.arange(9), np.full((9, 2), 9))[2].any()
    assert draw(Augmentation(flip=1.0), 0, 0, np.arange(9), np.full((9, 2), 9))[2].all()


def test_parts_of_a_draw_are_independent() -> None:
    """Row, column, height, width, angle and flip, of images in which many boxes fit."""
    count = 4000
    boxes, angles, flips = draw(PAPER, 1, 2, np.arange(count), np.full((count, 2), 1000))
    top, left, height, width = boxes.T
    area, ratio = height * width, width / height
    row, column = (top + 0.5) / (1001 - height), (left + 0.5) / (1001 - width)
    parts = [row, column, area, ratio, angles, flips]
    correlations = np.corrcoef(parts) - np.eye(6)
    assert np.abs(correlations).max() < 4 / np.sqrt(count)


@pytest.mark.parametrize("which", ["seed", "epoch", "image"])
def test_draws_are_independent(which: str) -> None:
    """Along seeds, epochs and images: uniform, and one tells nothing of the next."""
    count = 1500
    sizes = np.full((1, 2), 300)
    if which == "image":
        angles = draw(PAPER, 5, 7, np.arange(count), np.repeat(sizes, count, axis=0))[1]
    else:
        along = {"seed": lambda i: (i, 7), "epoch": lambda i: (5, i)}[which]
        angles = np.array(
            [draw(PAPER, *along(i), np.array([3]), sizes)[1][0] for i in range(count)]
        )
    assert stats.kstest(angles, "uniform", (-15, 30)).pvalue > LIKELY
    assert abs(np.corrcoef(angles[1:], angles[:-1])[0, 1]) < 4 / np.sqrt(count)


@pytest.fixture(scope="module", params=TRAINING_IMAGES)
def kind(request: pytest.FixtureRequest) -> type[BatchedImages]:
    return TRAINING_IMAGES[request.param]


PIXELS = [noise(40 + 3 * i, 75 - 4 * i, i) for i in range(9)]


def build(kind: type[BatchedImages], seed: int = 0) -> BatchedImages:
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
    monkeypatch.setitem(ragged._PIXELS_AT_ONCE, "cpu", pixels)
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


@pytest.mark.parametrize("kind", TRAINING_IMAGES.values())
def test_colours_are_normalised_as_the_network_was_trained(kind: type[BatchedImages]) -> None:
    mean, std = torch.tensor([0.5, 0.4, 0.1]), torch.tensor([0.5, 0.6, 0.7])
    own = Augmentation(64, 56, mean=mean.tolist(), std=std.tolist())
    default, result = (
        kind([smooth(70, 90)], [0], [0], how, seed=0, device="cpu")(0, [0]) for how in (SMALL, own)
    )
    back = (result * std[:, None, None] + mean[:, None, None]) * 255
    torch.testing.assert_close(back, grey_levels(default), atol=1e-3, rtol=0)


def test_shrunk_images_look_like_torchvisions() -> None:
    """Stripes too fine for the output turn grey in both; a bare fetch would show some of them."""
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    grey = BatchedImages([stripes], [0], [0], Augmentation(64, 24), seed=0, device="cpu")(0, [0])
    assert (grey_levels(grey) - 127.5).abs().max() < 12
    assert Augmentation(256, 224, (0.8, 1.0)).shorter_side == 287
    assert Augmentation(256, 224, (0.25, 1.0)).shorter_side == 512


@pytest.mark.parametrize("method", TRAINING_IMAGES)
@pytest.mark.parametrize(("resized", "crop"), [(72, 64), (256, 224)])
def test_a_crop_of_one_pixel_more_is_the_same_image_and_a_row_and_a_column(method, resized, crop):
    """Arms of other crops differ in nothing else."""
    generator = np.random.default_rng(0)
    pack = [generator.integers(0, 255, (90, 110, 3), dtype=np.uint8) for _ in range(3)]
    small, large = (
        TRAINING_IMAGES[method](
            pack,
            np.arange(3),
            np.zeros(3),
            Augmentation(resized_crop=resized, crop=side),
            seed=5,
            device="cpu",
        )(2, np.arange(3))
        for side in (crop, crop + 1)
    )
    assert torch.equal(small, large[..., :crop, :crop])
    plain, larger = (
        evaluation.evaluation_transform(resized, side)(pack[0]) for side in (crop, crop + 1)
    )
    assert torch.equal(plain, larger[:, :crop, :crop])
