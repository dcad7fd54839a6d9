"""The one-pixel attack: on networks whose best pixel is known, each query counted."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from deadpixel.errors import InputError
from deadpixel.probes.attack import attack

SHAPE = (3, 6, 7)
BOUNDS = np.array([-2.0, -1.5, -1.0]), np.array([1.0, 2.0, 3.0])
EVERYWHERE = np.argwhere(np.ones(SHAPE[1:]))
IMAGE = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
STRONG = {(2, 4): 3.0, (4, 1): -3.0}
POPULATION, GENERATIONS = 40, 60
WHOLE_BUDGET = 1 + POPULATION * (1 + GENERATIONS)


class Linear(nn.Module):
    """Logits: of class 0 none, of class 1 the sum of weight * image + margin; images are counted.

    Class 1 is the image's. Some places are stronger than the others.
    """

    def __init__(self, margin):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weights = torch.randn(SHAPE, generator=generator, dtype=torch.float64) / 2
        for place, weight in STRONG.items():
            self.weights[:, *place] = weight
        self.margin = margin - float((self.weights * IMAGE).sum())
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        logit = (self.weights * images).sum((1, 2, 3)) + self.margin
        return torch.stack([torch.zeros_like(logit), logit], 1)

    def best(self):
        """The most that a pixel lowers the logit, (H, W), and the colour that does so (C, H, W)."""
        weights, image = self.weights.numpy(), IMAGE.numpy()
        lowest, highest = (bound[:, None, None] for bound in BOUNDS)
        colour = np.where(weights > 0, lowest, highest)
        return -(weights * (colour - image)).sum(0), colour


SETTINGS = {
    "population": POPULATION,
    "generations": GENERATIONS,
    "seed": 0,
    "number": 3,
    "batch_size": 1000,
}


def attacked(model, places=EVERYWHERE, **changed):
    return attack(model, IMAGE, 1, places, BOUNDS, **{**SETTINGS, **changed})


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(("step", "best"), [*zip([1, 2], STRONG, strict=True)])
def test_the_best_pixel_and_colour_of_a_linear_network_are_found(step, best) -> None:
    """Of the places that are allowed, which are every one or every other."""
    model = Linear(margin=30.0)  # that no pixel overcomes
    places = EVERYWHERE[step - 1 :: step]
    fall, colours = model.best()
    assert fall[best] == fall[tuple(places.T)].max()
    found = attacked(model, places, population=100, generations=150)
    assert found.place == best
    np.testing.assert_allclose(found.colour, colours[:, *best], atol=0.05)
    assert found.before == pytest.approx(sigmoid(30.0), rel=1e-15)
    assert 1 - found.after == pytest.approx(sigmoid(fall[best] - 30.0), rel=0.05)
    assert not found.succeeded


def test_probabilities_are_those_of_the_unchanged_image_and_of_the_pixel() -> None:
    """The lowest of all generations, of which the last need not be the best."""
    seen = []
    model = Linear(margin=20.0)
    model.register_forward_hook(lambda *call: seen.append(call[-1].softmax(1)[:, 1]))
    found = attacked(model, generations=3)
    assert found.after == torch.cat(seen).min() < seen[-1].min()
    image = IMAGE.clone()
    image[:, *found.place] = torch.from_numpy(found.colour)
    assert found.before == pytest.approx(sigmoid(20.0))
    assert found.after == pytest.approx(float(model(image[None]).softmax(1)[0, 1]))
    assert found.after < found.before


def test_it_succeeds_where_a_pixel_can_and_ends_there() -> None:
    """One pixel alone can: where it is not allowed, the whole budget is spent."""
    fall, _ = Linear(margin=0).best()
    second, first = np.sort(fall, axis=None)[-2:]
    margin = (second + first) / 2
    model = Linear(margin)
    found = attacked(model, population=100)
    best = np.argwhere(fall == first)[0]
    assert found.succeeded and found.after < 0.5 < found.before
    assert found.place == tuple(best)
    assert found.queries == sum(model.batches) < 1 + 100 * (1 + GENERATIONS)
    assert set(model.batches[1:]) == {100}  # a generation at a time

    without = np.delete(EVERYWHERE, fall.argmax(), axis=0)
    model = Linear(margin)
    found = attacked(model, without)
    assert not found.succeeded and found.after > 0.5
    assert found.queries == sum(model.batches) == WHOLE_BUDGET


def test_a_success_of_the_first_generation_ends_it() -> None:
    model = Linear(margin=0.5)
    found = attacked(model)
    assert found.succeeded
    assert model.batches == [1, POPULATION]
    assert found.queries == 1 + POPULATION


def test_of_several_successes_the_lowest_probability_is_kept() -> None:
    """The lowest of the first generation, which is drawn whatever the network is."""
    kept = attacked(Linear(margin=20.0), generations=0)
    found = attacked(Linear(margin=0.5), generations=0)
    assert (found.succeeded, kept.succeeded) == (True, False)
    assert found.place == kept.place
    np.testing.assert_array_equal(found.colour, kept.colour)


def test_a_success_counts_more_than_a_lower_probability() -> None:
    """Where a third class takes a lot, and an earlier generation had a lower probability."""

    class Thirds(nn.Module):
        def forward(self, images):
            dark = images[:, 0].amin((1, 2)) < -1.98
            success = torch.tensor([0.1, 0.0, -9.0], dtype=torch.float64)  # probability 0.47
            failure = torch.tensor([0.9, 1.0, 0.9], dtype=torch.float64)  # 0.36, still the first
            return torch.where(dark[:, None], success, failure)

    found = attacked(Thirds(), population=20, number=0)
    assert found.succeeded and found.queries > 1 + 20
    assert found.colour[0] < -1.98
    assert found.after == pytest.approx(np.exp(0.0) / (1 + np.exp(0.1) + np.exp(-9)))
    assert found.after > found.before


def test_a_network_that_ignores_pixels_takes_the_whole_budget() -> None:
    """Its energies are equal, which SciPy takes for the end unless it is kept from it."""
    model = Linear(margin=1.0)
    model.weights = torch.zeros(SHAPE)
    model.margin = 1.0
    found = attacked(model)
    assert not found.succeeded
    assert found.queries == sum(model.batches) == WHOLE_BUDGET
    assert found.after == found.before


def equal(first, second) -> bool:
    return first._replace(colour=first.colour.tolist()) == second._replace(
        colour=second.colour.tolist()
    )


def test_the_same_seed_and_number_give_the_same_attack() -> None:
    run = functools.partial(attacked, Linear(margin=20.0), generations=5)
    assert equal(run(), run())
    assert not equal(run(), run(seed=1))
    assert not equal(run(), run(number=4))


@pytest.mark.parametrize("batch_size", [1, 7, POPULATION])
def test_batches_change_nothing(batch_size: int) -> None:
    for margin in (20.0, 3.0):
        model = Linear(margin)
        found = attacked(model, batch_size=batch_size, generations=5)
        assert equal(found, attacked(Linear(margin), generations=5))
        assert max(model.batches) == batch_size


def test_the_order_of_places_and_repeats_change_nothing() -> None:
    shuffled = np.random.default_rng(0).permutation(np.repeat(EVERYWHERE, 2, axis=0))
    run = functools.partial(attacked, Linear(margin=20.0), generations=5)
    assert equal(run(), run(shuffled))


def test_sets_of_places_have_the_same_draws() -> None:
    """Two places of which nothing depends have the same colour, at the same part of the set."""
    model = Linear(margin=20.0)
    model.weights[:] = model.weights[:, :1, :1].clone()
    model.margin = 20.0 - float((model.weights * IMAGE).sum())
    image = torch.zeros_like(IMAGE)
    model.margin = 20.0
    top, bottom = EVERYWHERE[:21], EVERYWHERE[21:]
    first, second = (
        attack(model, image, 1, places, BOUNDS, **SETTINGS) for places in (top, bottom)
    )
    assert np.array_equal(first.colour, second.colour)
    assert np.add(first.place, (3, 0)).tolist() == [*second.place]


def test_pixels_are_anywhere_and_of_any_colour_within_the_bounds() -> None:
    """As the network sees them: each place is drawn, and no other."""
    seen = []

    class Watching(Linear):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    places = EVERYWHERE[::3]
    attacked(Watching(margin=100.0), places, population=400, generations=1)
    changed = torch.cat(seen[1:]) != IMAGE
    pixels = changed.any(1).nonzero()
    assert len(pixels) == 800  # one of each image
    assert np.array_equal(np.unique(pixels[:, 1:].numpy(), axis=0), places)
    rows, columns = pixels[:, 1:].T
    colours = torch.cat(seen[1:])[torch.arange(800), :, rows, columns].numpy()
    lowest, highest = BOUNDS
    assert (colours >= lowest).all() and (colours <= highest).all()
    np.testing.assert_allclose(colours.min(0), lowest, atol=0.05)
    np.testing.assert_allclose(colours.max(0), highest, atol=0.05)
    assert (colours[400:] != colours[:400]).all()  # without crossover nothing is inherited


def test_the_last_place_may_be_asked_for_beyond_the_end() -> None:
    """SciPy's candidates may be 1, which is no place of n."""
    from deadpixel.probes.attack import _Search

    search = _Search(Linear(margin=1.0), IMAGE, 1, EVERYWHERE, BOUNDS, 8)
    places, colours = search._pixels(np.array([[1.0] * 4, [0.0] * 4]))
    assert places.tolist() == [[5, 6], [0, 0]]
    assert colours.tolist() == [[*BOUNDS[1]], [*BOUNDS[0]]]


def test_the_image_stays_as_it_is() -> None:
    before = IMAGE.clone()
    attacked(Linear(margin=3.0), generations=2)
    assert torch.equal(IMAGE, before)


def test_an_image_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match="does not assign the image to class 1: leave it out"):
        attacked(Linear(margin=-0.1))


@pytest.mark.parametrize("places", [[[6, 0]], [[0, 7]], [[-1, 0]], np.zeros((0, 2), int)])
def test_places_that_are_no_pixels_are_refused(places) -> None:
    with pytest.raises(ValueError, match=r"places are no pixels of an image of \(6, 7\) px"):
        attacked(Linear(margin=1.0), np.array(places))


def test_what_the_network_says_of_a_candidate_may_be_the_users_mistake() -> None:
    """SciPy would make an error of its own of it."""

    class Undefined(Linear):
        def forward(self, images):
            return super().forward(images).log() if len(images) > 1 else super().forward(images)

    with pytest.raises(InputError, match="logits are not finite"):
        attacked(Undefined(margin=1.0))


def test_other_errors_of_scipy_are_not_hidden() -> None:
    with pytest.raises(ValueError, match="S > 4"):
        attacked(Linear(margin=1.0), population=4)
