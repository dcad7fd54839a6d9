"""Moved images: what is measured of each, and consistency in closed form."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deadpixel.errors import InputError
from deadpixel.probes.shift import moved
from deadpixel.probes.stability import at_equal_confidence, stability


class Given(nn.Module):
    """Logits are the pixels of an image."""

    def forward(self, images):
        return images.flatten(1)


def logits_at(down: float, across: float) -> torch.Tensor:
    """Of two images with three classes each, by place."""
    first = [1.0, 2.0 - down, 0.5 * across]
    second = [down**2, 3.0 * across, 1.0]
    return torch.tensor([first, second], dtype=torch.float64)


def images_at(down: float, across: float):
    """In two batches."""
    return logits_at(down, across)[:, :, None, None].split(1)


def test_every_image_is_judged_at_every_offset() -> None:
    """By its own class; the other axis is unmoved."""
    classes = torch.tensor([1, 0])
    rows = moved(Given(), images_at, classes, reach=2)
    steps = [step / 2 for step in range(-4, 5)]
    expected = list(itertools.product(["down", "across"], steps, [0, 1]))
    assert [*rows[["axis", "offset", "image"]].itertuples(index=False, name=None)] == expected
    for row in rows.itertuples():
        shift = (row.offset, 0) if row.axis == "down" else (0, row.offset)
        logits = logits_at(*shift)[row.image].numpy()
        own = int(classes[row.image])
        assert row.logit == logits[own]
        assert row.probability == pytest.approx(np.exp(logits[own]) / np.exp(logits).sum())
        assert row.predicted == logits.argmax()
        assert row.same == (logits.argmax() == logits_at(0, 0)[row.image].argmax())
    assert rows["same"].nunique() == 2


def periodic(down: float, across: float):
    """Noise that has no border, moved."""
    images = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    fine = images.repeat_interleave(2, 2).repeat_interleave(2, 3)  # halves are half a pixel's own
    return [fine.roll((-int(2 * down), -int(2 * across)), (2, 3))[..., ::2, ::2]]


def circular(stride: int) -> nn.Module:
    """Equivariant but for its stride, with global pooling."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3, 1, 1, padding_mode="circular"),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride, 1, padding_mode="circular"),
        nn.ReLU(),
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    return nn.Sequential(*layers, *head).double().eval().requires_grad_(False)


def test_an_equivariant_network_is_not_moved_by_whole_pixels() -> None:
    classes = torch.tensor([0, 1, 2])
    rows = moved(circular(stride=1), periodic, classes, reach=3)
    whole = rows[rows["offset"] % 1 == 0]
    spread = whole.groupby(["axis", "image"])["logit"].agg(np.ptp)
    assert len(spread) == 6 and spread.max() < 1e-12
    assert whole["same"].all()
    strided = moved(circular(stride=2), periodic, classes, reach=3)
    whole = strided[strided["offset"] % 1 == 0].pivot_table("logit", ["axis", "image"], "offset")
    assert (whole.diff(2, axis=1).iloc[:, 2:].abs() < 1e-12).all(axis=None)
    assert (whole.diff(axis=1).iloc[:, 1:].abs() > 1e-4).all(axis=None)


def rows_of(predicted: dict[str, list[int]], confidence: float = 0.5) -> pd.DataFrame:
    """Of one image, from its class at offsets of -1, -0.5, 0, 0.5, 1."""
    rows = []
    for axis, classes in predicted.items():
        for offset, of_offset in zip([-1, -0.5, 0, 0.5, 1], classes, strict=True):
            probability = confidence if offset == 0 else 0.9
            row = {"image": 0, "axis": axis, "offset": offset, "logit": 2.0 * offset**2}
            same = of_offset == classes[2]
            rows.append({**row, "probability": probability, "predicted": of_offset, "same": same})
    return pd.DataFrame(rows)


def test_stability_by_hand() -> None:
    rows = rows_of({"down": [7, 4, 4, 5, 7], "across": [4, 4, 4, 4, 5]}, confidence=0.3)
    other = rows_of({"down": [1] * 5, "across": [1, 2, 1, 1, 2]}).assign(image=1)
    shuffled = pd.concat([rows, other]).sample(frac=1, random_state=0)
    found = stability(shuffled).set_index(["axis", "image"])
    thirds = {"pairs": 5 / 9}  # of 3 x 3 pairs of classes, two of which are the same
    expected = {
        ("down", 0): {"stays": 1 / 4, "stays_integer": 0, **thirds, "always": False},
        ("across", 0): {"stays": 3 / 4, "stays_integer": 1 / 2, **thirds, "always": False},
        ("down", 1): {"stays": 1, "stays_integer": 1, "pairs": 1, "always": True},
        ("across", 1): {"stays": 1 / 2, "stays_integer": 1 / 2, **thirds, "always": False},
    }
    assert {*found.index} == {*expected}
    for place, values in expected.items():
        assert found.loc[place, [*values]].to_dict() == pytest.approx(values)
    assert found["confidence"].tolist() == [0.3 if image == 0 else 0.5 for _, image in found.index]
    assert found["logit_std"].to_numpy() == pytest.approx(np.std([2, 0.5, 0, 0.5, 2]))


def test_pairs_are_zhangs_consistency_in_expectation() -> None:
    """Of offsets drawn at random, as Zhang draws them."""
    rng = np.random.default_rng(0)
    offsets = np.arange(-16, 17)
    classes = rng.integers(0, 3, len(offsets))
    rows = pd.DataFrame({"offset": offsets, "predicted": classes}).assign(
        image=0, axis="down", logit=0.0, probability=0.5, same=classes == classes[16]
    )
    first, second = rng.integers(0, len(offsets), (2, 200_000))
    drawn = np.mean(classes[first] == classes[second])
    assert stability(rows)["pairs"].item() == pytest.approx(drawn, abs=0.005)


def test_halves_are_no_part_of_what_is_of_whole_pixels() -> None:
    found = stability(rows_of({"down": [4, 1, 4, 2, 4]}))
    assert found[["stays", "stays_integer", "pairs"]].iloc[0].tolist() == [0.5, 1, 1]


def sure(confidences: list[float], axis: str = "down") -> pd.DataFrame:
    """Rows of `stability`; stays is the number of the image."""
    numbers = np.arange(len(confidences), dtype=float)
    columns = {"stays": numbers, "stays_integer": 2 * numbers, "pairs": 3 * numbers}
    frame = pd.DataFrame({"image": numbers, "confidence": confidences, **columns})
    return frame.assign(axis=axis, always=numbers > 1, logit_std=0.0)


def test_consistency_at_equal_confidence_by_hand() -> None:
    """An edge is of the bin above it, and 1 of the last."""
    images = pd.concat([sure([0.0, 0.5, 1.0, 0.95]), sure([0.1, 0.2, 0.4], "across")])
    found = at_equal_confidence(images, [0, 0.5, 0.9, 1])
    assert found["axis"].tolist() == ["down"] * 3 + ["across"] * 3
    assert found["low"].tolist() == [0, 0.5, 0.9] * 2
    assert found["high"].tolist() == [0.5, 0.9, 1] * 2
    assert found["images"].tolist() == [1, 1, 2, 3, 0, 0]
    np.testing.assert_allclose(found["stays"], [0, 1, 2.5, 1, np.nan, np.nan])
    np.testing.assert_allclose(found["stays_integer"], 2 * found["stays"])
    np.testing.assert_allclose(found["pairs"], 3 * found["stays"])
    np.testing.assert_allclose(found["always"], [0, 0, 1, 1 / 3, np.nan, np.nan])


@pytest.mark.parametrize("edges", [[], [0], [0.1, 1], [0, 0.9], [0, 0.6, 0.5, 1], [0, 0.5, 0.5, 1]])
def test_edges_that_would_lose_images_are_refused(edges) -> None:
    with pytest.raises(InputError, match=r"edges of confidence .+: let them rise from 0 to 1"):
        at_equal_confidence(sure([0.5]), edges)
