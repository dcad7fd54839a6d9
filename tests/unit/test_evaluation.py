"""Evaluation images: torchvision's transform to the bit, the right images in order."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from deadpixel.data import packs
from deadpixel.data.evaluation import evaluation_images, evaluation_transform
from deadpixel.errors import InputError
from packs import listed

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
COUNT = 23
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sizes", [(256, 224), (40, 33), (24, 24)])
@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (300, 300)])
def test_transform_is_torchvisions(sizes: tuple[int, int], shape: tuple[int, int]) -> None:
    """Of the image as Pillow has it: resized, cut from the middle, scaled and normalised."""
    resize, crop = sizes
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = functional.center_crop(functional.resize(Image.fromarray(pixels), resize), crop)
    expected = functional.normalize(functional.to_tensor(image), MEAN, STD)
    result = evaluation_transform(resize, crop)(pixels)
    assert result.dtype == torch.float32
    assert result.shape == (3, crop, crop)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("sizes", [{"resize": 40, "crop": 33}, {"resize": [30, 50], "crop": 24}])
def test_bands_are_those_of_the_image_one_by_one(sizes: dict) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 91, 12), dtype=np.uint8)
    mean, std = np.linspace(0.1, 0.6, 12).tolist(), np.linspace(0.2, 0.3, 12).tolist()
    result = evaluation_transform(**sizes, mean=mean, std=std)(pixels)
    for first in range(0, 12, 3):
        part = slice(first, first + 3)
        three = evaluation_transform(**sizes, mean=mean[part], std=std[part])
        assert torch.equal(result[part], three(pixels[..., part]))


def test_grey_images_are_made_of_rgb_as_pillow_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    result = evaluation_transform(40, 32, mean=[0.4], std=[0.3])(pixels)
    image = functional.resize(Image.fromarray(pixels).convert("L"), 40)
    expected = functional.to_tensor(functional.center_crop(image, 32))
    torch.testing.assert_close(result, (expected - 0.4) / 0.3)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    assert torch.equal(evaluation_transform(40, 32, mean=[0.4], std=[0.3])(grey), result)


def test_an_image_of_other_bands_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((40, 40, 4), np.uint8))
    manifest = listed(["a.npy"], tmp_path).assign(label=0, split="test")
    packs.pack(manifest, tmp_path, tmp_path / "pack.arrow", {})
    images = evaluation_images(
        tmp_path / "pack.arrow", manifest, "test", evaluation_transform(32, 32)
    )
    with pytest.raises(InputError, match=r"^a\.npy: the image has 4 bands and .+ a mean of 3:"):
        images[0]


def test_transform_defaults_are_the_papers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    assert torch.equal(evaluation_transform()(pixels), evaluation_transform(256, 224)(pixels))


REGISTRY = yaml.safe_load((ROOT / "data/registry.yaml").read_text())["weights"]["files"]
TRANSFORMS = {json.dumps(entry.get("preprocess", {})): name for name, entry in REGISTRY.items()}


@pytest.mark.parametrize("name", TRANSFORMS.values())
def test_transform_of_published_weights_is_the_one_they_come_with(name: str) -> None:
    """Of a network of each kind, to the last bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 443, 3), dtype=np.uint8)
    theirs = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    ours = evaluation_transform(**REGISTRY[name].get("preprocess", {}))
    assert torch.equal(ours(pixels), theirs(Image.fromarray(pixels)))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("resize", "crop"), [([40, 61], [33, 56]), (40, [33, 20])])
def test_transform_to_rectangles_is_torchvisions(resize, crop, interpolation: str) -> None:
    """Heights come first; a single number is the shorter side."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 91, 3), dtype=np.uint8)
    mode = transforms.InterpolationMode(interpolation)
    image = functional.resize(Image.fromarray(pixels), resize, mode)
    scaled = functional.to_tensor(functional.center_crop(image, crop))
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    result = evaluation_transform(resize, crop, interpolation, mean, std)(pixels)
    assert result.shape == (3, *crop)
    assert torch.equal(result, functional.normalize(scaled, mean, std))


@pytest.mark.parametrize(
    ("resize", "crop"), [(23, 24), ([30, 23], 24), ([23, 30], [24, 20]), (23, [20, 24])]
)
def test_a_crop_beyond_the_image_is_refused(resize, crop) -> None:
    with pytest.raises(InputError, match=re.escape(f"{crop} px is larger than images resized to")):
        evaluation_transform(resize, crop)


PLAIN = {"mean": [0] * 3, "std": [1] * 3}  # values of 0 to 1 as they are


@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (45, 30)])
@pytest.mark.parametrize("resize", [40, [45, 40]])
@pytest.mark.parametrize("shift", [(0, 0), (4, 0), (0, -4), (-3, 2.0)])
def test_a_shift_of_whole_pixels_is_a_crop_elsewhere(shape, resize, shift) -> None:
    """Of the same resized image, to the last bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mode = transforms.InterpolationMode.BICUBIC
    image = functional.to_tensor(functional.resize(Image.fromarray(pixels), resize, mode))
    top, left = (round((length - 32) / 2) for length in image.shape[1:])
    top, left = top + shift[0], left + int(shift[1])
    expected = image[:, top : top + 32, left : left + 32]
    result = evaluation_transform(resize, 32, "bicubic", **PLAIN, shift=shift)(pixels)
    assert torch.equal(result, expected)


def _triangles(length: int, resized: int, start: float) -> np.ndarray:
    """Weights (32, length) of bilinear resampling from `start` on, by its definition."""
    scale = length / resized
    centres = (start + np.arange(32) + 0.5) * scale
    distances = np.abs(np.arange(length) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distances / max(scale, 1))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (45, 30), (40, 40)])
@pytest.mark.parametrize("shift", [(0, 0), (0.5, 0), (0, -3.5), (3.5, 2.5)])
def test_a_shift_of_half_a_pixel_is_of_the_resampling(shape, shift) -> None:
    """Computed without rounding; 8 bits are rounded to twice, once along each axis."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    sizes = [40 * length // min(shape) for length in shape]
    starts = [round((size - 32) / 2) + moved for size, moved in zip(sizes, shift, strict=True)]
    rows, columns = map(_triangles, shape, sizes, starts)
    expected = np.einsum("ij,jkc,lk->cil", rows, pixels, columns)
    result = evaluation_transform(40, 32, **PLAIN, shift=shift)(pixels) * 255
    np.testing.assert_allclose(result, expected, atol=1.01)
    assert np.abs(result.numpy() - expected).mean() < 0.51


def test_crops_moved_by_halves_share_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 91, 3), dtype=np.uint8)
    first, second = (
        evaluation_transform(40, 32, shift=shift)(pixels) for shift in [(0.5, -1.5), (2.5, -3.5)]
    )
    assert torch.equal(first[:, 2:, :-2], second[:, :-2, 2:])
    unmoved = evaluation_transform(40, 32)(pixels)
    assert not torch.isclose(first[:, :-1], unmoved[:, 1:]).all(-1).any()


@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (40, 40), (30, 30)])
@pytest.mark.parametrize("shift", [(4, 4), (-4, -4), (3.5, -3.5)])
def test_a_shift_as_large_as_the_room_fits_every_image(shape, shift) -> None:
    """Black is what lies beyond an image."""
    white = np.full((*shape, 3), 255, np.uint8)
    assert evaluation_transform(40, 32, **PLAIN, shift=shift)(white).min() == 1


@pytest.mark.parametrize(
    ("resize", "shift"),
    [(40, (4.5, 0)), (40, (0, -4.5)), ([40, 50], (5, 0)), ([50, 40], (0, 5)), (32, (0, 0.5))],
)
def test_a_shift_beyond_the_image_is_refused(resize, shift) -> None:
    expected = f"a shift by {max(shift, key=abs):g} px moves a crop of 32 px out of images resized"
    with pytest.raises(InputError, match=re.escape(expected)) as error:
        evaluation_transform(resize, 32, shift=shift)
    assert "preprocess.resize or preprocess.crop" in str(error.value)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several sizes, each grey and as bright as its number times ten."""
    root = tmp_path_factory.mktemp("images")
    names = [f"{number}.png" for number in range(COUNT)]
    for number, name in enumerate(names):
        Image.new("RGB", (10 + number, 40 - number), (10 * number,) * 3).save(root / name)
    packs.pack(listed(names, root), root, root / "images.arrow", {})
    return root / "images.arrow"


@pytest.fixture(scope="module")
def manifest(pack: Path) -> pd.DataFrame:
    """Labels of their own, and the splits in no order."""
    rng = np.random.default_rng(0)
    splits = rng.permutation(["train"] * 10 + ["valid"] * 6 + ["test"] * 7)
    frame = pd.DataFrame({"split": splits, "label": rng.permutation(COUNT)})
    frame["label"] = frame["label"].astype("int16")
    frame = frame.join(listed([f"{number}.png" for number in range(COUNT)], pack.parent))
    return frame.set_index(pd.RangeIndex(100, 100 + COUNT))  # rows count, not their names


def _numbers(batch: torch.Tensor) -> list[int]:
    """Which images these are, by their brightness."""
    grey = batch.mean((-2, -1)) * torch.tensor(STD) + torch.tensor(MEAN)
    return (grey.mean(-1) * 25.5).round().int().tolist()


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_split_is_chosen(pack: Path, manifest: pd.DataFrame, split: str) -> None:
    """Its images in the manifest's order, with their own labels and paths."""
    chosen = evaluation_images(pack, manifest, split, evaluation_transform(12, 8))
    expected = np.flatnonzero(manifest["split"] == split).tolist()
    assert len(chosen) == len(expected)
    assert chosen[0].shape == (3, 8, 8)
    assert _numbers(torch.stack([chosen[i] for i in range(len(chosen))])) == expected
    assert [chosen.path(i) for i in range(len(chosen))] == [f"{n}.png" for n in expected]
    assert chosen.labels.dtype == torch.int64
    assert chosen.labels.tolist() == manifest["label"].iloc[expected].tolist()


@pytest.mark.parametrize("most", [1, 2, 3, 7, 9, 10, 11, None])
def test_most_are_spread_evenly(pack: Path, manifest: pd.DataFrame, most: int | None) -> None:
    """Over the whole split, none twice; more than there are is all of them."""
    every = np.flatnonzero(manifest["split"] == "train").tolist()
    chosen = evaluation_images(pack, manifest, "train", evaluation_transform(12, 8), most=most)
    places = [every.index(number) for number in _numbers(next(iter(chosen.batches(99))))]
    assert len(places) == min(most or 10, 10)
    assert places[0] == 0
    gaps = np.diff([*places, len(every)])
    assert gaps.min() >= 1
    assert np.ptp(gaps) <= 1
    assert chosen.labels.tolist() == manifest["label"].iloc[[every[p] for p in places]].tolist()


def test_every_interleaves(pack: Path, manifest: pd.DataFrame) -> None:
    """Blocks take turns: each is spread over the images, together they are all of them."""
    chosen = evaluation_images(pack, manifest, "train", evaluation_transform(12, 8))
    for start in range(3):
        block = chosen.every(3, start)
        places = range(start, 10, 3)
        assert [block.path(i) for i in range(len(block))] == [chosen.path(p) for p in places]
        assert block.labels.tolist() == chosen.labels[start::3].tolist()
        assert torch.equal(block[1], chosen[start + 3])
        assert len(block.every(2)) == len(places[::2])


def test_batches_are_in_order(pack: Path, manifest: pd.DataFrame) -> None:
    """The last is what is left, and they can be had again."""
    chosen = evaluation_images(pack, manifest, "train", evaluation_transform(12, 8))
    batches = chosen.batches(4)
    for _ in range(2):
        found = list(batches)
        assert [tuple(batch.shape) for batch in found] == [(n, 3, 8, 8) for n in (4, 4, 2)]
        assert torch.equal(torch.cat(found), torch.stack([chosen[i] for i in range(10)]))


def test_images_on_a_device_keep_their_labels(pack: Path, manifest: pd.DataFrame) -> None:
    chosen = evaluation_images(pack, manifest, "train", evaluation_transform(12, 8))
    expected = np.flatnonzero(manifest["split"] == "train")
    batches = chosen.on(torch.device("cpu"), 4)
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    numbers = [number for images, _ in batches for number in _numbers(images)]
    labels = [label for _, of_batch in batches for label in of_batch.tolist()]
    assert numbers == expected.tolist()
    assert labels == manifest["label"].iloc[expected].tolist()
