import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from deadpixel.probes.corrections import corrected
from deadpixel.probes.pointing import EXCHANGES, agreement, area, contrast, curves

CHECKERBOARD = 1 + 0.25 * (-1.0) ** np.indices((32, 32)).sum(0)
CLASSES = torch.tensor([1, 0, 1])


def bell(row: float, col: float, sides: tuple[int, int] = (128, 128), width: float = 20.0):
    y, x = np.indices(sides)
    return np.exp(-((y - row) ** 2 + (x - col) ** 2) / (2 * width**2))


def contrast_of(maps: np.ndarray) -> dict[str, float]:
    """Of blocks of every tenth image."""
    parts = [maps[block::10] for block in range(10)]
    return contrast([part.mean(0) for part in parts], [len(part) for part in parts])


def test_a_known_checkerboard_has_the_known_contrast_until_it_is_divided_out() -> None:
    """Of the mean map: images may be as uneven as they like."""
    rng = np.random.default_rng(0)
    truth = bell(64, 64, width=40) * rng.exponential(size=(12, 1, 1))
    maps = truth * np.tile(CHECKERBOARD, (4, 4))
    found = contrast_of(maps)
    assert found["contrast"] == pytest.approx(0.25, rel=0.02)
    assert found["contrast_unbiased"] == pytest.approx(0.25, rel=0.02)
    repaired = contrast_of(corrected("tile", maps, CHECKERBOARD))["contrast"]
    assert repaired < 0.02 and repaired == pytest.approx(contrast_of(truth)["contrast"])
    assert len(found) == 5 and not np.isnan([*found.values()]).any()


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """From the squares of the differences of ranks, of values that all differ."""
    ranks = [one.argsort().argsort().astype(float) for one in (a.ravel(), b.ravel())]
    return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (a.size * (a.size**2 - 1))


def test_agreement_is_the_rank_correlation_of_each_images_blurred_maps() -> None:
    before, after = np.random.default_rng(0).random((2, 3, 40, 50))
    found = agreement(before, after, 8)
    sigma = 8 / 2.354820045
    for number in range(3):
        blurred = [
            ndimage.gaussian_filter(one[number], sigma, mode="nearest") for one in (before, after)
        ]
        assert found[number] == pytest.approx(rank_correlation(*blurred), abs=1e-9)


def test_a_checkerboard_moves_nothing_that_a_map_points_at_but_another_place_does() -> None:
    plain = np.array([bell(50, 60), bell(50, 60), 1 - bell(50, 60)])
    other = np.array([np.tile(CHECKERBOARD, (4, 4)) * bell(50, 60), bell(90, 20), bell(50, 60)])
    same, moved, reverse = agreement(plain, other, 32)
    assert same > 0.99 and moved < 0.5 and reverse == pytest.approx(-1)


def test_a_map_of_one_value_points_nowhere() -> None:
    maps = np.array([np.zeros((40, 40)), np.full((40, 40), 0.3), bell(9, 9, (40, 40))])
    assert np.isnan(agreement(maps, maps[::-1], 8)[[0, 2]]).all()
    assert agreement(maps[2:], maps[2:], 8) == pytest.approx([1])


def images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*(shape or (3, 2, 6, 7)), generator=generator, dtype=torch.float64)


def linear() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(84, 2))
    for weights in model.parameters():
        weights.data = images(*weights.shape)
    return model.eval().requires_grad_(False)


def by_hand(kind: str, model: nn.Module, pixels: Tensor, label: int, strengths, steps: int):
    """The probability of two classes is the logistic function of the difference of their logits.

    Of a linear network that is a sum over pixels, which are exchanged one after the other.
    """
    sign = 1 if label else -1
    weights = sign * (model[1].weight[1] - model[1].weight[0]).view(pixels.shape)
    bias = sign * float(model[1].bias[1] - model[1].bias[0])
    before = after = pixels
    if kind == "deletion":
        after = torch.zeros_like(pixels)
    else:
        blurred = [ndimage.gaussian_filter(colour, 5, mode="nearest") for colour in pixels.numpy()]
        before = torch.from_numpy(np.array(blurred))
    parts = [(weights * end).sum(0).flatten().tolist() for end in (before, after)]
    order = sorted(range(42), key=lambda place: (-strengths.flat[place], place))
    values = []
    for step in range(steps + 1):
        gone = order[: 42 * step // steps]
        total = bias + sum(parts[place in gone][place] for place in range(42))
        values.append(1 / (1 + np.exp(-total)))
    return values


@pytest.mark.parametrize("kind", EXCHANGES)
@pytest.mark.parametrize("steps", [42, 6, 5])
def test_curves_of_a_linear_network_in_closed_form(kind: str, steps: int) -> None:
    """Strengths are of few values, so that many pixels are equally strong."""
    model, pixels = linear(), images()
    maps = np.random.default_rng(0).integers(0, 4, (3, 6, 7)).astype(float)
    found = curves(kind, model, pixels, CLASSES, maps, steps=steps)
    for number in range(3):
        label = int(CLASSES[number])
        expected = by_hand(kind, model, pixels[number], label, maps[number], steps)
        np.testing.assert_allclose(found[number], expected, rtol=1e-9)


def test_insertion_ends_and_deletion_begins_with_the_image() -> None:
    model, pixels = linear(), images()
    maps = np.random.default_rng(0).random((3, 6, 7))
    insertion, deletion = (curves(k, model, pixels, CLASSES, maps, steps=9) for k in EXCHANGES)
    seen = model(pixels).softmax(1)[range(3), CLASSES]
    black = model(torch.zeros_like(pixels)).softmax(1)[range(3), CLASSES]
    np.testing.assert_allclose(insertion[:, -1], seen)
    np.testing.assert_allclose(deletion[:, 0], seen)
    np.testing.assert_allclose(deletion[:, -1], black)


def test_a_map_that_points_at_what_counts_has_the_better_areas() -> None:
    """Of all maps of a linear network its weights times what is exchanged are the best."""
    model, pixels = linear(), images()
    weights = model[1].weight.view(2, 2, 6, 7)
    parts = ((weights[CLASSES] - weights[1 - CLASSES]) * pixels).sum(1).numpy()
    best, worst = (
        area(curves("deletion", model, pixels, CLASSES, maps, steps=42)) for maps in (parts, -parts)
    )
    other = np.random.default_rng(0).random((3, 6, 7))
    middle = area(curves("deletion", model, pixels, CLASSES, other, steps=42))
    assert (best < middle).all() and (middle < worst).all()


@pytest.mark.parametrize("kind", EXCHANGES)
def test_batches_change_no_curve(kind: str) -> None:
    model, pixels = linear(), images()
    maps = np.random.default_rng(0).random((3, 6, 7))
    whole = curves(kind, model, pixels, CLASSES, maps, steps=9)
    for batch_size in (1, 4):
        again = curves(kind, model, pixels, CLASSES, maps, steps=9, batch_size=batch_size)
        np.testing.assert_allclose(again, whole, rtol=1e-12)


def test_areas_are_those_of_trapezoids_over_shares() -> None:
    lines = np.array([[0.3] * 5, np.linspace(0, 1, 5), [1, 0, 0, 0, 0]])
    assert area(lines) == pytest.approx([0.3, 0.5, 0.125])
