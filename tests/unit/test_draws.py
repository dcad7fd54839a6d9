"""Random streams: one for each purpose, none of which shares numbers with another."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from deadpixel.data.draws import (
    Purpose,
    generator,
    initialising,
    philox,
    stream,
    torch_seed,
    uniforms,
)

LIKELY = 0.001  # p-values below this fail; seeds are fixed, so a test passes always or never
LARGE_SEEDS = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1]
N = 4000


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_knows_its_answers(counter, key, expected):
    """Those published with Random123, Philox's first implementation."""
    words = philox(np.array([counter], dtype=np.uint64), tuple(key))[0]
    assert " ".join(f"{word:08x}" for word in words) == expected


def torchs(purpose, *keys):
    with initialising(0, purpose, *keys):
        return torch.rand(N, dtype=torch.float64).numpy()


def all_streams():
    """First numbers of every stream in every way that it is drawn from, for seed 0."""
    for purpose in Purpose:
        for keys in [(), (0,), (1,), ("conv1",), ("layer1.0", 0)]:
            yield (purpose, *keys, "torch"), torchs(purpose, *keys)
            yield (purpose, *keys, "numpy"), generator(0, purpose, *keys).random(N)
        for epoch in (0, 1):
            drawn = uniforms(0, purpose, epoch, np.arange(N), 2)
            yield (purpose, epoch, "first"), drawn[:, 0]
            yield (purpose, epoch, "second"), drawn[:, 1]
    for label in (0, 1):  # of `splits.split` and `synthetic`
        yield ("split", label), np.random.default_rng([0, label]).random(N)
        yield ("synthetic", label), np.random.default_rng([0, label, 1]).random(N)


def test_no_two_streams_share_numbers():
    """The first number of each occurs in no other, and no two are correlated."""
    names, numbers = zip(*all_streams(), strict=True)
    assert len(names) > 100
    starts = np.array(numbers)[:, :100]
    assert len(np.unique(starts)) == starts.size
    correlations = np.corrcoef(np.array(numbers))[np.triu_indices(len(names), 1)]
    assert np.abs(correlations).max() < 5.5 / np.sqrt(N)  # the largest of 7,000: 4.0 expected
    assert correlations.std() == pytest.approx(1 / np.sqrt(N), rel=0.1)


def test_every_bit_of_a_seed_counts():
    drawn = [
        (
            torch_seed(seed, Purpose.NETWORK),
            generator(seed, Purpose.ORDER, 0).random(),
            uniforms(seed, Purpose.AUGMENTATION, 0, np.array([0]), 1)[0, 0],
        )
        for seed in LARGE_SEEDS
    ]
    for of_one_kind in zip(*drawn, strict=True):
        assert len(set(of_one_kind)) == len(LARGE_SEEDS)
    for a, b in itertools.pairwise(LARGE_SEEDS):
        rows = [uniforms(s, Purpose.AUGMENTATION, 0, np.arange(N), 1).ravel() for s in (a, b)]
        assert abs(np.corrcoef(*rows)[0, 1]) < 4 / np.sqrt(N)


def test_keys_do_not_run_into_each_other():
    keys = [("1", "23"), ("12", "3"), ("123",), (1, 2, 3), ()]
    assert len({torch_seed(0, Purpose.KERNELS, *key) for key in keys}) == len(keys)
    assert torch_seed(0, Purpose.ORDER, 7) == torch_seed(0, Purpose.ORDER, "7")
    assert torch_seed(1, Purpose.ORDER, 0) != torch_seed(0, Purpose.ORDER, 1)
    assert stream(0, Purpose.ORDER, 7).spawn_key != stream(0, Purpose.LAYERS, 7).spawn_key


@pytest.mark.parametrize("index", range(5))
def test_numbers_of_an_image_are_uniform_and_independent(index):
    """Every number of an image, along images; more than the four that one block yields."""
    drawn = uniforms(5, Purpose.AUGMENTATION, 7, np.arange(N), 9)
    assert drawn.shape == (N, 9) and drawn.min() >= 0 and drawn.max() < 1
    assert stats.kstest(drawn[:, index], "uniform").pvalue > LIKELY
    assert abs(np.corrcoef(drawn[1:, index], drawn[:-1, index])[0, 1]) < 4 / np.sqrt(N)
    others = np.delete(drawn, index, axis=1)
    assert np.abs(np.corrcoef(drawn[:, index], others.T)[0, 1:]).max() < 4 / np.sqrt(N)


def test_numbers_of_an_image_depend_on_seed_epoch_and_image_alone():
    whole = uniforms(3, Purpose.AUGMENTATION, 2, np.arange(50), 6)
    chosen = np.array([17, 4, 4, 49])
    assert np.array_equal(uniforms(3, Purpose.AUGMENTATION, 2, chosen, 6), whole[chosen])
    assert np.array_equal(uniforms(3, Purpose.AUGMENTATION, 2, chosen, 3), whole[chosen, :3])
    for other in (
        uniforms(4, Purpose.AUGMENTATION, 2, chosen, 6),
        uniforms(3, Purpose.AUGMENTATION, 3, chosen, 6),
        uniforms(3, Purpose.TEST_SQUARES, 2, chosen, 6),
        uniforms(3, Purpose.AUGMENTATION, 2, chosen + 1, 6),
    ):
        assert not np.isclose(other, whole[chosen]).any()


def test_epochs_and_images_are_not_added():
    drawn = [
        uniforms(0, Purpose.AUGMENTATION, epoch, np.array([image]), 1)[0, 0]
        for epoch in range(8)
        for image in range(8)
    ]
    assert len(set(drawn)) == 64


def test_initialising_leaves_pytorchs_generator_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = torch.rand(1)
    with initialising(0, Purpose.HEAD):
        torch.rand(5)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
