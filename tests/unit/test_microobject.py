"""The micro-object task: squares of exact colour, whole, anywhere, in both classes."""

import numpy as np
import scipy.stats
import torch
from torchvision import transforms

from deadpixel import microobject, training
from deadpixel.data import augment
from deadpixel.data.draws import Purpose
from deadpixel.data.normalisation import MEAN, STD
from deadpixel.files import parquet, runs, schemas

SIDE, SIZE = 20, 5


def originals(n=6, side=SIDE):
    """Normalised noise that has no colour of a square."""
    images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    return transforms.functional.normalize(0.2 + 0.6 * images, MEAN, STD)


def denormalised(images):
    """0 to 255, as images are stored."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return ((images * std + mean) * 255).round().to(torch.uint8)


def test_colours_are_those_of_a_normalised_image():
    for colour, rgb in zip(microobject.colours(), microobject.CLASSES.values(), strict=True):
        image = torch.tensor(rgb)[:, None, None].expand(3, 2, 2) / 255
        assert torch.equal(transforms.functional.normalize(image, MEAN, STD)[:, 0, 0], colour)


def test_classes_are_black_and_red_in_the_order_of_the_labels():
    painted = denormalised(microobject.colours()[:, :, None, None])[:, :, 0, 0]
    assert [*microobject.CLASSES] == ["black", "red"]
    assert painted.tolist() == [[0, 0, 0], [255, 0, 0]]


def test_a_corner_is_a_row_and_a_column():
    """In images that are not square, of the first pixels of the square."""
    corners = torch.tensor([[1, 6], [9, 0]])
    images = originals(2)[..., :11]
    found = microobject.paste_at(images, microobject.colours(), corners, 3)
    changed = (found != images).any(1)
    expected = torch.zeros(2, SIDE, 11, dtype=torch.bool)
    expected[0, 1:4, 6:9] = expected[1, 9:12, 0:3] = True
    assert torch.equal(changed, expected)


def test_a_square_changes_its_pixels_and_no_other():
    images = originals()
    before = images.clone()
    labels = torch.arange(6) % 2
    painted = microobject.colours()[labels]
    generator = torch.Generator().manual_seed(1)
    found = microobject.paste(images, painted, generator, SIZE)
    assert torch.equal(images, before)
    changed = (found != images).any(1)
    for n in range(6):
        rows, columns = torch.nonzero(changed[n], as_tuple=True)
        assert len(rows) == SIZE**2
        assert rows.max() - rows.min() == columns.max() - columns.min() == SIZE - 1
        top, left = rows.min(), columns.min()
        square = found[n, :, top : top + SIZE, left : left + SIZE]
        assert torch.equal(square, painted[n][:, None, None].expand_as(square))
        rgb = [*microobject.CLASSES.values()][labels[n]]
        assert denormalised(square).flatten(1).T.unique(dim=0).tolist() == [[*rgb]]


def test_places_of_a_generator_are_the_same_for_the_same_state():
    images, painted = originals(), microobject.colours()[[0, 1, 0, 1, 0, 1]]
    first, again, other = (
        microobject.paste(images, painted, torch.Generator().manual_seed(seed), SIZE)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_pasted_squares_reach_every_place():
    """Of four, two down and two across, in images that are one pixel larger than the square."""
    blank = torch.full((64, 3, SIZE + 1, SIZE + 1), 9.0)
    painted = microobject.colours()[:1].expand(64, 3)
    found = microobject.paste(blank, painted, torch.Generator().manual_seed(0), SIZE)
    assert len(corners_of(found, blank).unique(dim=0)) == 4


def test_seed_and_epoch_are_two_numbers_and_not_their_sum():
    found = {
        tuple(
            microobject.places(seed, Purpose.TRAINING_SQUARES, epoch, np.arange(4), (99, 99), 8)
            .flatten()
            .tolist()
        )
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(found) == 9


def drawn_corners(n=40_000, shape=(12, 9), size=4):
    return microobject.places(0, Purpose.TEST_SQUARES, 0, np.arange(n), shape, size).numpy()


def test_places_are_uniform_wherever_the_square_fits():
    corners = drawn_corners()
    assert corners.shape == (40_000, 2, 2)
    for label in (0, 1):
        cells = corners[:, label, 0] * 6 + corners[:, label, 1]
        assert cells.min() == 0 and cells.max() == 53  # 9 tops times 6 lefts
        assert scipy.stats.chisquare(np.bincount(cells)).pvalue > 1e-3
    both = corners[:, 0, 0] * 9 + corners[:, 1, 0]  # the two squares of a image are apart
    assert scipy.stats.chisquare(np.bincount(both, minlength=81)).pvalue > 1e-3


def test_a_square_as_large_as_the_image_fits_once():
    assert not drawn_corners(10, (4, 4), 4).any()


def test_places_depend_on_seed_epoch_and_image_alone():
    def at(seed, epoch, chosen, purpose=Purpose.TRAINING_SQUARES):
        return microobject.places(seed, purpose, epoch, np.array(chosen), (60, 60), 8)

    assert torch.equal(at(0, 3, [5, 2, 9])[1], at(0, 3, [2])[0])
    for other in (at(1, 3, [2]), at(0, 4, [2]), at(0, 3, [3]), at(0, 3, [2], Purpose.TEST_SQUARES)):
        assert not torch.equal(other, at(0, 3, [2]))


def test_training_batches_have_both_classes_of_every_image():
    several = originals(7)
    train = microobject.training_batches(lambda epoch, chosen: several[chosen], 7, 4, SIZE, seed=0)
    first, again, later = (list(train(epoch)) for epoch in (0, 0, 1))
    assert [len(images) for images, _ in first] == [4, 4, 4]  # a image left over is passed over
    for (images, labels), (same, _) in zip(first, again, strict=True):
        assert labels.tolist() == [0, 1, 0, 1]
        assert torch.equal(images, same)
        for n in range(0, len(images), 2):
            outside = [
                (several == image).all(1).float().mean((1, 2)) for image in images[n : n + 2]
            ]
            assert outside[0].argmax() == outside[1].argmax()  # both of one image
            assert max(outside[0]) == 1 - SIZE**2 / SIDE**2
    assert not torch.equal(first[0][0], later[0][0])


def corners_of(images, blank):
    """Top and left of the square in each image, int64 (N, 2)."""
    changed = (images != blank).any(1)
    return torch.stack([changed.any(2).int().argmax(1), changed.any(1).int().argmax(1)], dim=1)


def test_every_epoch_trains_with_its_own_order_augmentation_and_places():
    """Each is the one that its own function gives, by image and not by position in the batch."""
    n, batch, seed, side = 9, 6, 4, 30
    asked = []

    def augmented(epoch, chosen):
        asked.append((epoch, tuple(chosen)))
        return torch.full((len(chosen), 3, side, side), 9.0)

    train = microobject.training_batches(augmented, n, batch, SIZE, seed)
    for epoch in (0, 1, 5):
        asked.clear()
        found = [corners_of(images, 9.0) for images, _ in train(epoch)]
        orders = training.shuffled(n, batch // 2, seed, epoch)
        assert asked == [(epoch, tuple(chosen)) for chosen in orders]
        for corners, chosen in zip(found, orders, strict=True):
            places = microobject.places(
                seed, Purpose.TRAINING_SQUARES, epoch, chosen, (side, side), SIZE
            )
            assert torch.equal(corners, places.flatten(0, 1))


def test_places_have_nothing_to_do_with_the_augmentation_nor_with_those_of_the_tests():
    n, size = 2000, (300, 300)
    sizes = np.tile(size, (n, 1))
    boxes, angles, flips = augment.draw(augment.Augmentation(), 0, 3, np.arange(n), sizes)
    room = np.array(size) - boxes[:, 2:] + 1
    of_crop = np.column_stack([boxes[:, :2] / room, angles, flips, boxes[:, 2:]])
    of_tests, of_training = (
        microobject.places(0, purpose, epoch, np.arange(n), (60, 60), 8).flatten(1).numpy()
        for purpose, epoch in ((Purpose.TEST_SQUARES, 0), (Purpose.TRAINING_SQUARES, 3))
    )
    of_first_epoch = microobject.places(
        0, Purpose.TRAINING_SQUARES, 0, np.arange(n), (60, 60), 8
    ).flatten(1)
    everything = np.column_stack([of_crop, of_tests, of_training, of_first_epoch.numpy()])
    correlations = np.corrcoef(everything.T)
    places = slice(of_crop.shape[1], None)
    of_places = correlations[places] - np.eye(len(correlations))[places]
    assert np.abs(of_places).max() < 4.5 / np.sqrt(n)


def test_tests_have_the_same_places_every_time_and_others_for_another_seed():
    several = originals(5)
    batches = [(several[:3], torch.zeros(3)), (several[3:], torch.zeros(2))]
    first, again, other = (
        microobject.evaluation_batches(batches, SIZE, seed) for seed in (0, 0, 1)
    )
    assert [len(images) for images, _ in first] == [6, 4]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    whole = microobject.evaluation_batches([(several, torch.zeros(5))], SIZE, 0)
    assert torch.equal(torch.cat([images for images, _ in first]), whole[0][0])
    assert torch.cat([labels for _, labels in first]).tolist() == [0, 1] * 5


def test_places_of_tests_are_by_number_and_unlike_those_of_training():
    blank = torch.full((5, 3, 30, 30), 9.0)
    ((images, _),) = microobject.evaluation_batches([(blank, torch.zeros(5))], SIZE, 2)
    corners = corners_of(images, 9.0)
    numbers = np.arange(5)
    expected = microobject.places(2, Purpose.TEST_SQUARES, 0, numbers, (30, 30), SIZE)
    assert torch.equal(corners, expected.flatten(0, 1))
    trained = microobject.places(2, Purpose.TRAINING_SQUARES, 0, numbers, (30, 30), SIZE)
    assert not (expected == trained).all(2).any()


def test_test_places_are_those_of_the_batches():
    images = torch.full((5, 3, SIDE, SIDE), 9.0)
    batches = [(images[:3], torch.zeros(3)), (images[3:], torch.zeros(2))]
    painted = torch.cat([part for part, _ in microobject.evaluation_batches(batches, SIZE, 4)])
    corners = microobject.test_places(4, np.arange(5), (SIDE, SIDE), SIZE)
    assert torch.equal(corners_of(painted, 9.0), corners.flatten(0, 1))


def test_a_pixel_more_moves_no_square_by_more_than_a_pixel():
    """What another crop changes of the places: that there is one more."""
    small, large = (drawn_corners(2000, (side, side), 8) for side in (64, 65))
    assert set(np.unique(large - small)) == {0, 1}


def test_a_run_is_done_so_many_epochs_after_the_first_above_the_threshold():
    def done_after(epochs, *accuracies):
        rows = [{"epoch": n, "test_acc": a} for n, a in enumerate(accuracies, start=1)]
        return microobject.seen_for(epochs, 0.9)(rows)

    assert not done_after(0) and not done_after(0, 0.5, 0.9) and done_after(0, 0.5, 0.91)
    assert not done_after(2, 0.5, 0.95, 0.5) and done_after(2, 0.5, 0.95, 0.5, 0.5)
    assert done_after(1, 0.95, 0.95)


def test_steps_are_counted_through_all_epochs():
    rows = [{"epoch": 1, "steps": [[4, 1], [2, 2]]}, {"epoch": 2, "steps": [[4, 3], [2, 0]]}]
    found = runs.steps_to_frame(rows)
    assert [*found] == schemas.STEPS.names
    expected = [[1, 1, 4, 1], [1, 2, 2, 2], [2, 3, 4, 3], [2, 4, 2, 0]]
    assert found.to_numpy().tolist() == expected


def test_each_square_has_its_place_and_what_was_predicted(tmp_path):
    corners = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    rows = [{"epoch": 1, "test_predicted": [0, 0, 0, 1]}, {"epoch": 2, "test_predicted": [1] * 4}]
    found = runs.seen_to_frame(rows, ["a.png", "b.png"], corners)
    parquet.write(found, tmp_path / "seen.parquet", schemas.SEEN, {})
    read = parquet.read(tmp_path / "seen.parquet", schemas.SEEN)
    assert read.to_numpy().tolist()[:5] == [
        [1, "a.png", 0, 1, 2, 0],
        [1, "a.png", 1, 3, 4, 0],
        [1, "b.png", 0, 5, 6, 0],
        [1, "b.png", 1, 7, 8, 1],
        [2, "a.png", 0, 1, 2, 1],
    ]
