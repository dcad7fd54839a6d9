"""Linear pieces, strong and weak places, changed pixels: by closed forms and plain loops."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deadpixel import erf
from deadpixel.errors import InputError
from deadpixel.features import in_evaluation
from deadpixel.imbalance import mean_tile
from deadpixel.probes import changes, linear, places

SIZE = (8, 12)
IMAGES = torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(3))
CLASSES = torch.tensor([0, 1, 1, 0, 1])


class Linear(nn.Module):
    """Logits that are sums over pixels by weights (classes, 3, H, W), and a constant."""

    def __init__(self, weights: Tensor, constant: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.constant = constant

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", images, self.weights) + self.constant


def linear_network(constant: float = 0.0) -> Linear:
    weights = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(4))
    return in_evaluation(Linear(weights, constant), torch.device("cpu"), torch.float64)


def small_network(bias: bool) -> nn.Module:
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 2, bias=bias),
    )
    return in_evaluation(network, torch.device("cpu"), torch.float64)


BATCHES = [(IMAGES[:3].double(), CLASSES[:3]), (IMAGES[3:].double(), CLASSES[3:])]


# --------------------------------------------------------------------------- the fixed linear model


@pytest.mark.parametrize("bias", [False, True])
def test_nothing_is_left_beside_the_gradient_only_of_a_relu_network_without_biases(bias):
    model = small_network(bias)
    found = linear.pieces(model, BATCHES, {}).of_images
    for number, (image, label) in enumerate(zip(IMAGES.double(), CLASSES, strict=True)):
        image.requires_grad_()
        logit = model(image[None])[0, label]
        (gradient,) = torch.autograd.grad(logit, image)
        by_gradient = float((gradient * image.detach()).sum())
        assert found.loc[number, "logit"] == pytest.approx(logit.item(), rel=1e-12)
        assert found.loc[number, "by_gradient"] == pytest.approx(by_gradient)
    rest = (found["logit"] - found["by_gradient"]).abs()
    assert (rest < 1e-12).all() != bias
    assert not bias or (rest > 1e-3).any()


def test_the_fixed_model_of_a_linear_network_of_one_weight_for_all_colours_is_the_network():
    weights = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(6))
    model = Linear(weights.expand(1, 3, -1, -1).double(), constant=7.0)
    field = erf.accumulate(model, IMAGES, ["output"], logit="predicted", dtype=torch.float64)
    fixed = {"by_field": field["output"].mean, "none": np.zeros(SIZE)}
    batches = [(images, 0 * classes) for images, classes in BATCHES]
    found = linear.pieces(model.requires_grad_(requires_grad=False), batches, fixed).of_images
    assert found["by_field"].to_numpy() + 7 == pytest.approx(found["logit"].to_numpy(), rel=1e-6)
    assert (found["none"] == 0).all()
    assert [*found] == ["logit", "by_gradient", "by_field", "none"]


def test_the_same_gradients_make_r_and_the_mean_gradient_of_these_logits():
    model, images = small_network(bias=True), IMAGES.double()
    found = linear.pieces(model, BATCHES, {})
    for definition, field in (("kim", found.field), ("signed", found.signed)):
        alone = erf.accumulate(
            *(model, images, ["output"]),
            labels=CLASSES,
            definition=definition,
            dtype=torch.float64,
        )
        assert field == pytest.approx(alone["output"].mean, rel=1e-9, abs=1e-15)


# ------------------------------------------------------------------------------------------- places


def checkerboard(height: int, width: int) -> np.ndarray:
    row, col = np.indices((height, width))
    return 1 + 0.5 * (-1.0) ** (row + col) + 1e-3 * (row % 32) / 32


def test_strong_places_are_those_that_the_tile_repeats():
    field = checkerboard(64, 96)
    found = places.phases(field)
    row, col = np.indices(field.shape)
    assert ((row + col)[found.group >= 5] % 2 == 0).all()
    assert ((row + col)[found.group < 5] % 2 == 1).all()
    tile = mean_tile(field, 32)
    assert np.array_equal(found.sensitivity, np.tile(tile, (2, 3)))
    least = [found.sensitivity[found.group == group].min() for group in range(places.GROUPS)]
    most = [found.sensitivity[found.group == group].max() for group in range(places.GROUPS)]
    assert all(before <= after for before, after in zip(most[:-1], least[1:], strict=True))


def test_groups_have_as_many_phases_each_and_cut_tiles_belong_to_them():
    field = np.random.default_rng(0).random((40, 70)) + 1
    found = places.phases(field)
    sizes = np.bincount(found.group[:32, :32].ravel())
    assert len(sizes) == places.GROUPS and sizes.sum() == 1024 and np.ptp(sizes) <= 1
    assert np.array_equal(found.group[32:], found.group[:8])
    assert np.array_equal(found.group[:, 32:64], found.group[:, :32])
    assert np.array_equal(found.group[:, 64:], found.group[:, :6])
    assert len(found.places()) == field.size
    strong = found.places(places.GROUPS - 1)
    assert (found.group[strong[:, 0], strong[:, 1]] == places.GROUPS - 1).all()
    assert len(found.places(0, 9)) == (found.group == 0).sum() + (found.group == 9).sum()


def test_means_are_over_all_pixels_of_a_group():
    field = checkerboard(64, 96)
    found = places.phases(field).means(field + 100.0 * (np.indices(field.shape)[0] >= 32))
    assert found.mean() == pytest.approx(1, rel=1e-3)
    assert found[-1] - found[0] == pytest.approx(1 / 51, rel=1e-2)


def test_a_map_without_a_tile_has_no_strong_places():
    for field in (np.zeros((64, 64)), -checkerboard(64, 64)):
        with pytest.raises(InputError, match="no pixel is strong or weak"):
            places.phases(field)


def test_places_are_drawn_of_each_group_for_each_image_and_seed():
    found = places.phases(np.random.default_rng(0).random((64, 64)) + 1)
    drawn = found.drawn(3, seed=1, image=5)
    groups = found.group[drawn[:, 0], drawn[:, 1]]
    assert np.array_equal(groups, np.repeat(np.arange(places.GROUPS), 3))
    assert len({tuple(place) for place in drawn}) == 30
    assert np.array_equal(drawn, found.drawn(3, seed=1, image=5))
    for other in (found.drawn(3, seed=2, image=5), found.drawn(3, seed=1, image=6)):
        assert not np.array_equal(drawn, other)
    most = found.drawn(10**6, seed=1, image=5)
    assert len(most) == 64 * 64


# ------------------------------------------------------------------------------------------ changes


def test_a_disturbance_of_a_linear_network_counts_as_its_weight_there():
    model, image = linear_network(), IMAGES[0].double()
    chosen = np.argwhere(np.ones(SIZE))[::7]
    found = changes.responses(
        model, image, 1, changes.disturbed(image, chosen, [0.5, 2.0], first_colour=2), 8
    )
    assert len(found) == 4 * len(chosen)
    for number, row in enumerate(found.itertuples()):
        assert (row.row, row.col) == tuple(chosen[number // 4])
        assert row.colour == (2 + number // 4) % 3
        assert row.size == [0.5, -0.5, 2.0, -2.0][number % 4]
        expected = row.size * float(model.weights[1, row.colour, row.row, row.col])
        assert row.change == pytest.approx(expected, rel=1e-10)
    assert (found["kind"] == "disturbed").all() and (found["side"] == 1).all()


def test_replaced_squares_take_with_them_what_their_pixels_give():
    model, image = linear_network(), IMAGES[0].double()
    values = {"mean": torch.zeros(3), "black": torch.tensor([-2.0, -1.0, -3.0])}
    chosen = np.array([[0, 0], [3, 4], [7, 11], [6, 1]])
    found = changes.responses(
        model, image, 0, changes.replaced(image, chosen, [1, 3], values), batch_size=5
    )
    done = itertools.product(chosen, [1, 3], values.items())
    for row, ((y, x), side, (kind, value)) in zip(found.itertuples(), done, strict=True):
        assert (row.row, row.col, row.side, row.kind, row.colour) == (y, x, side, kind, -1)
        half, expected = side // 2, 0.0
        for i, j in itertools.product(range(SIZE[0]), range(SIZE[1])):
            if abs(i - y) <= half and abs(j - x) <= half:
                expected += float(model.weights[0, :, i, j] @ (value.double() - image[:, i, j]))
        assert row.change == pytest.approx(expected, rel=1e-10)
    assert np.isnan(found["size"]).all()


def test_a_flip_is_another_first_class_than_before_whatever_the_class_that_is_judged():
    weights = torch.zeros(2, 3, *SIZE)
    weights[1, 0, 2, 3] = 1.0
    model = Linear(weights).requires_grad_(requires_grad=False)
    image = torch.zeros(3, *SIZE)
    image[0, 2, 3] = -1.0  # the second class is behind
    chosen = np.array([[2, 3], [2, 4]])
    for label in (0, 1):
        found = changes.responses(model, image, label, changes.disturbed(image, chosen, [2.0]), 8)
        assert found["flipped"].tolist() == [True, False, False, False]
        assert found["change"].tolist() == [2.0 * label, -2.0 * label, 0, 0]


def test_the_size_of_batches_and_the_image_change_nothing():
    model, image = small_network(bias=True), IMAGES[1].double()
    before = image.clone()
    chosen = np.argwhere(np.ones(SIZE))[::9]
    found = [
        changes.responses(model, image, 0, changes.disturbed(image, chosen, [1.0]), size)
        for size in (1, 7, 100)
    ]
    for other in found[1:]:
        assert other["change"].to_numpy() == pytest.approx(found[0]["change"].to_numpy(), abs=1e-12)
    assert torch.equal(image, before)
