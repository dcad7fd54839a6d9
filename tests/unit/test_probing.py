"""All probes of a small network: what a block computes, and that a killed job goes on."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deadpixel import erf
from deadpixel.data.evaluation import EvaluationImages, evaluation_transform
from deadpixel.errors import InputError
from deadpixel.files import schemas
from deadpixel.files.resume import Scratch
from deadpixel.imbalance import mean_tile
from deadpixel.probes import (
    attack,
    changes,
    corrections,
    linear,
    places,
    pointing,
    saliency,
)
from deadpixel.probes.probing import BLOCKS, Settings, Subject, probe

N, CPU = 25, torch.device("cpu")
TRANSFORM = {"resize": 20, "crop": 16}
SETTINGS = Settings(
    places=1,
    sizes=[0.5, 2.0],
    sides=[3],
    shift=2,
    population=5,
    generations=2,
    samples=2,
    steps=3,
    black=np.array([-2.0, -2.1, -1.9]),
    white=np.array([2.0, 2.1, 2.2]),
    batch_size=4,
    seed=7,
)


class Pixels:
    """Random photographs."""

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)

    def path(self, index: int) -> str:
        return f"{index}.png"


def network(relu: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.ReLU() if relu else nn.Tanh(),
        nn.Conv2d(6, 8, 3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


IMAGES = EvaluationImages(Pixels(), np.arange(N), np.zeros(N), evaluation_transform(**TRANSFORM))
TARGETS = {"first": "0", "last": "2", "output": "output"}


def subject(relu: bool = True, batch_size: int = 4) -> Subject:
    halves = IMAGES.every(2), IMAGES.every(2, start=1)
    return Subject(network(relu), *halves, TARGETS, batch_size, CPU)


def moved(block: EvaluationImages, down: float, across: float) -> EvaluationImages:
    return block.through(evaluation_transform(**TRANSFORM, shift=(down, across)))


@pytest.fixture(scope="module")
def probed(tmp_path_factory) -> tuple[Subject, dict[str, pd.DataFrame]]:
    of = subject()
    return of, probe(of, moved, SETTINGS, Scratch(tmp_path_factory.mktemp("scratch"), []))


def image(of: Subject, number: int) -> tuple[torch.Tensor, int]:
    """A probed image and its class."""
    pixels = IMAGES[2 * number + 1]
    return pixels, int(of.model(pixels[None]).argmax())


def test_the_reference_says_what_is_strong_and_other_images_are_probed(probed):
    of, frames = probed
    for images, found, definition in (
        (range(0, N, 2), of.reference.field, "kim"),
        (range(1, N, 2), of.own.field, "kim"),
        (range(0, N, 2), of.reference.signed, "signed"),
    ):
        batch = torch.stack([IMAGES[number] for number in images])
        alone = erf.accumulate(network(), batch, ["output"], definition=definition)
        assert found == pytest.approx(alone["output"].mean, rel=1e-4, abs=1e-9)
    expected = places.phases(of.reference.field)
    assert np.array_equal(of.phases.group, expected.group)
    assert np.array_equal(of.phases.tile, mean_tile(of.reference.field, 16))
    for name in ("places", "shifts", "attacks", "saliency"):
        assert {*frames[name]["image"]} == {*range(12)}, name


def test_frames_have_the_columns_of_their_files(probed):
    of, frames = probed
    for name, frame in {**frames, "logits": of.logits()}.items():
        assert {*frame} == {*schemas.PROBES[name].names}, name
        assert len(frame), name


def test_logits_are_of_the_predicted_class_and_their_pieces_by_the_references_gradients(probed):
    of, _ = probed
    found = of.logits()
    assert found["reference"].sum() == 13
    pixels, label = image(of, 4)
    row = found[~found["reference"] & (found["image"] == 4)].iloc[0]
    assert row["logit"] == pytest.approx(float(of.model(pixels[None])[0, label]), rel=1e-5)
    fixed = {"by_field": of.reference.field, "by_signed": of.reference.signed}
    batch = [(pixels[None], torch.tensor([label]))]
    alone = linear.pieces(of.model, batch, fixed).of_images.iloc[0]
    assert row[[*alone.index]].astype(float).to_numpy() == pytest.approx(alone.to_numpy(), rel=1e-4)


def test_changes_are_at_places_drawn_for_the_image(probed):
    of, frames = probed
    pixels, label = image(of, 11)
    drawn = of.phases.drawn(1, SETTINGS.seed, 11)
    rows = frames["places"].query("image == 11").reset_index(drop=True)
    values = {"mean": torch.zeros(3), "black": torch.from_numpy(SETTINGS.black).float()}
    done = [
        *changes.disturbed(pixels, drawn, SETTINGS.sizes, first_colour=11),
        *changes.replaced(pixels, drawn, SETTINGS.sides, values),
    ]
    alone = changes.responses(of.model, pixels, label, done, 100)
    pd.testing.assert_frame_equal(rows[[*alone]], alone, check_dtype=False, atol=1e-5)
    row = rows.iloc[5]
    at = row["row"], row["col"]
    own = of.own.field[of.phases.group == row["group"]].mean() / of.own.field.mean()
    assert (row["field"], row["own_sensitivity"]) == (of.reference.field[at], pytest.approx(own))
    assert (row["group"], row["sensitivity"]) == (of.phases.group[at], of.phases.sensitivity[at])


def test_moves_are_those_of_the_crop(probed):
    of, frames = probed
    _, label = image(of, 3)
    rows = frames["shifts"].query("image == 3 and axis == 'across' and offset == 1.5")
    crop = evaluation_transform(**TRANSFORM, shift=(0, 1.5))(Pixels()[7])
    logits = of.model(crop[None])[0]
    assert rows["logit"].item() == pytest.approx(float(logits[label]), rel=1e-4)
    assert rows["predicted"].item() == int(logits.argmax())
    assert len(frames["shifts"]) == 12 * 2 * (4 * SETTINGS.shift + 1)


def test_attacks_are_on_any_on_strong_and_on_weak_pixels(probed):
    of, frames = probed
    pixels, label = image(of, 10)
    rows = frames["attacks"].query("image == 10").set_index("places")
    for name, groups in (("anywhere", ()), ("strong", (9,)), ("weak", (0,))):
        alone = attack.attack(
            *(of.model, pixels, label, of.phases.places(*groups)),
            (SETTINGS.black, SETTINGS.white),
            **{"population": 5, "generations": 2, "seed": 7, "number": 10, "batch_size": 99},
        )
        row = rows.loc[name]
        assert (row["row"], row["col"]) == alone.place and row["queries"] == alone.queries
        assert row["succeeded"] == alone.succeeded
        assert (row["before"], row["after"]) == pytest.approx((alone.before, alone.after), rel=1e-4)


def test_maps_are_judged_with_every_correction_and_their_contrast_is_of_all_images(probed):
    of, frames = probed
    assert of.target.module == "2"
    numbers = np.arange(12)
    images = torch.stack([image(of, number)[0] for number in numbers])
    labels = torch.tensor([image(of, number)[1] for number in numbers])
    settings = {"seed": 7, "points": SETTINGS.samples}
    for name in saliency.SALIENCIES:
        maps = saliency.saliency(name, of.model, images, labels, numbers, of.target, **settings)
        for correction in corrections.CORRECTIONS:
            rows = frames["saliency"].query("saliency == @name and correction == @correction")
            rows = rows.sort_values("image")
            strengths = corrections.corrected(correction, maps, of.phases.tile)
            agreement = pointing.agreement(np.abs(maps), strengths, len(of.phases.tile))
            assert rows["agreement"].to_numpy() == pytest.approx(agreement, abs=1e-3)
            contrast = frames["contrasts"].query("saliency == @name and correction == @correction")
            blocks = [strengths[block::BLOCKS] for block in range(BLOCKS)]
            expected = pointing.contrast([b.mean(0) for b in blocks], [len(b) for b in blocks])
            for key, value in expected.items():
                assert contrast[key].item() == pytest.approx(value, rel=1e-2, abs=1e-4), key
        curves = pointing.curves(
            "deletion", of.model, images, labels, strengths, steps=3, batch_size=2
        )
        assert rows["deletion"].to_numpy() == pytest.approx(pointing.area(curves), abs=1e-3)


def test_the_picture_is_the_first_probed_image_and_its_gradients(probed):
    of, frames = probed
    pixels, label = image(of, 0)
    rows = frames["picture"]
    bright = (pixels.permute(1, 2, 0).numpy() - SETTINGS.black) / (SETTINGS.white - SETTINGS.black)
    assert rows["brightness"].to_numpy() == pytest.approx(bright.mean(2).ravel(), abs=1e-6)
    assert (rows["row"].to_numpy().reshape(16, 16) == np.arange(16)[:, None]).all()
    assert (rows["col"].to_numpy().reshape(16, 16) == np.arange(16)).all()
    batch = pixels[None], torch.tensor([label]), np.zeros(1, int), of.target
    for name, saliency_name, correction in (
        *((correction, "gradient", correction) for correction in corrections.CORRECTIONS),
        ("smooth_strides", "smooth_strides", "none"),
    ):
        maps = saliency.saliency(saliency_name, of.model, *batch)
        expected = corrections.corrected(correction, maps, of.phases.tile)[0].ravel()
        assert rows[name].to_numpy() == pytest.approx(expected, rel=1e-4, abs=1e-9), name


def test_a_killed_job_goes_on_at_its_last_block(probed, tmp_path, monkeypatch):
    of, frames = probed
    scratch = Scratch(tmp_path, [])
    calls = []

    def interrupted(block, down, across):
        calls.append(block)
        if len({id(block) for block in calls}) > 3:
            raise KeyboardInterrupt
        return moved(block, down, across)

    with pytest.raises(KeyboardInterrupt):
        probe(of, interrupted, SETTINGS, scratch)
    before = len({id(block) for block in calls}) - 1
    done: list[EvaluationImages] = []

    def counted(block, down, across):
        done.append(block)
        return moved(block, down, across)

    again = probe(of, counted, SETTINGS, scratch)
    assert len({id(block) for block in done}) == BLOCKS - before
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(again[name], frame, check_exact=True)


def test_a_network_without_relus_has_no_guided_map(tmp_path, caplog):
    frames = probe(subject(relu=False), moved, SETTINGS, Scratch(tmp_path, []))
    assert {*frames["saliency"]["saliency"]} == {*saliency.SALIENCIES} - {"guided_backpropagation"}
    assert {*frames["contrasts"]["saliency"]} == {*frames["saliency"]["saliency"]}


def test_a_map_is_needed_among_the_targets():
    with pytest.raises(InputError, match="targets: no map"):
        Subject(network(), IMAGES, IMAGES, {"output": "output"}, 4, CPU)
