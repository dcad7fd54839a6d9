import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from deadpixel import blocks, command, erf, extent, fields, imbalance, look
from deadpixel.data import loose, synthetic
from deadpixel.data.evaluation import evaluation_transform
from deadpixel.errors import InputError
from deadpixel.files import parquet, schemas
from deadpixel.results import look as shown

NETWORK = """
import torch
from torch import nn

def build():
    halves = [(3, 8), (8, 8), (8, 8)]
    stages = [nn.Sequential(nn.Conv2d(*each, 3, 2, 1), nn.ReLU()) for each in halves]
    stages += [nn.Sequential(nn.Conv2d(8, 8, 2, 2), nn.ReLU())]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
"""
TRANSFORM = evaluation_transform(70, 64)


@pytest.fixture(scope="module")
def network():
    namespace: dict = {}
    exec(NETWORK, namespace)
    torch.manual_seed(0)
    return namespace["build"]()


@pytest.fixture(scope="module")
def images():
    return loose.images(None, 16, TRANSFORM)


@pytest.fixture(scope="module")
def seen(network, images):
    return look.look(network, images, name="mine")


def test_images_are_those_of_the_folder_and_below_spread_over_it(tmp_path):
    (tmp_path / "b").mkdir()
    for number, name in enumerate(("c.png", "b/x.png", "b/y.jpg", "a.gif", ".hidden.png")):
        Image.new("RGB", (80, 90), (number, 0, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    found = loose.images(tmp_path, 9, TRANSFORM)
    assert [found.path(index) for index in range(len(found))] == [
        str(tmp_path / name) for name in ("a.gif", "b/x.png", "b/y.jpg", "c.png")
    ]
    fewer = loose.images(tmp_path, 2, TRANSFORM)
    assert [fewer.path(index) for index in (0, 1)] == [
        str(tmp_path / name) for name in ("a.gif", "b/y.jpg")
    ]
    assert torch.equal(fewer[1], found[2]) and not torch.equal(found[1], found[2])
    with pytest.raises(InputError, match="two images"):
        loose.images(tmp_path, 1, TRANSFORM)


def test_drawn_images_are_the_same_whatever_their_number():
    few, many = (loose.images(None, number, TRANSFORM, seed=3) for number in (2, 40))
    assert torch.equal(few[1], many[1])
    assert not torch.equal(many[0], many[len(synthetic.CLASSES)]), "two of one class"
    assert not torch.equal(many[1], loose.images(None, 40, TRANSFORM, seed=4)[1])


def test_fields_and_measures_are_the_librarys(network, images, seen):
    every = torch.stack([images[index] for index in range(len(images))])
    expected = erf.accumulate(network, every, ["1", "output"], logit="mean")
    for name, of in (("stride4", "1"), ("output", "output")):
        np.testing.assert_allclose(seen.fields[name].mean, expected[of].mean, rtol=1e-4, atol=1e-9)
        assert seen.fields[name].count == 16
    targets = ["stride4", "stride8", "stride16", "output"]
    table = shown.table(seen)
    assert [*seen.fields] == [*table["target"]] == targets
    assert table["size_h"].tolist()[:3] == [7, 15, 23]
    parts = [
        erf.accumulate(network, every[number::8], ["output"], logit="mean")["output"]
        for number in range(8)
    ]
    theory = extent.theories(seen.trf.to_dict("records"))["output"]
    means = [part.mean for part in parts]
    without_each = blocks.maps_without_each(means, [2] * 8)
    found = imbalance.measure(means, [2] * 8)
    found |= extent.measure(np.mean(means, axis=0), without_each, theory)
    row = table.set_index("target").loc["output"]
    for name, value in found.items():
        assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-6, nan_ok=True), name
    assert row["stride"] == 16


def test_a_signed_field_has_no_index_relative_to_its_level(seen):
    field = seen.fields["output"]
    signed = erf.Erf(field.total - field.total.mean(), field.total_squares, field.count)
    found = fields.measure(signed, [signed, signed], extent.Theory())
    assert [*found.imbalance] == ["l1_raw", "l2_raw"]
    assert found.fit["failure"] or found.fit["r_squared"] is not None
    whole = fields.measure(field, [field, field], extent.Theory())
    assert {"l1", "l1_raw", "contrast_unbiased"} <= whole.imbalance.keys()
    assert whole.tile.shape == (32, 32)


def test_odd_kernels_are_counted_and_what_padding_adds(seen):
    assert [name.partition(":")[0] for name in seen.odd] == [
        f"Sequential.{number}.0" for number in range(3)
    ]
    assert seen.left_odd == []
    assert seen.added == (16 - 9) * (3 + 8 + 8) * 8


def rows(**changed):
    """A `Look` whose logits have the numbers of the argument."""
    row = {"target": "output", "size_h": np.inf, "radius_90": 90.0, "radius_50": 60.0}
    row |= {f"edge_{side}": 0.5 for side in ("top", "bottom", "left", "right")}
    row |= {f"edge_{side}_se": 0.01 for side in ("top", "bottom", "left", "right")}
    return {"output": row | {"contrast_unbiased": 0.12, "contrast_unbiased_se": 0.01} | changed}


@pytest.mark.parametrize(
    ("size", "said"),
    [(0.041, "deviates by 4.1 ± 1.0 %"), (0.039, "seen evenly"), (-0.01, "seen evenly")],
)
def test_the_sentence_of_the_checkerboard(size, said):
    (sentence,) = shown._checkerboard(rows(contrast_unbiased=size))
    assert said in sentence
    assert not [*shown._checkerboard(rows(contrast_unbiased_se=np.nan))]


def test_sentences_of_edges_name_the_weaker_one_first():
    found = [*shown._edges(rows(edge_left=0.7, edge_right=0.4, edge_top=0.52))]
    assert found == ["The right edge counts 0.40 of the middle for the logits, the left one 0.70."]
    (top,) = shown._edges(rows(edge_top=0.3))
    assert top.startswith("The top edge counts 0.30") and "bottom one 0.50" in top


def test_the_sentence_of_the_reach():
    of_map = {"target": "stride16", "size_h": 100.0, "radius_90": 25.0}
    (sentence,) = shown._reach({"stride16": of_map, **rows()})
    assert "within 25 px, a circle of 20 % of the square of 100 px" in sentence
    (sentence,) = shown._reach({"stride16": of_map | {"size_h": np.inf}, **rows()})
    assert sentence.endswith("from within 25 px.")


def test_the_sentence_of_padding(seen):
    assert "3 operations" in shown.sentences(seen)[-1]
    assert "make 3 of them even, with 1,064 weights more" in shown.sentences(seen)[-1]


def test_profiles_lie_in_bands_of_their_standard_errors(seen, images):
    field = seen.fields["output"]
    row, column = np.unravel_index(np.abs(field.mean).argmax(), field.mean.shape)
    *_, axis = shown.figures(seen, images[0], *shown.colours_of({}))[1].axes
    cuts = ((field.mean[row], field.se[row]), (field.mean[:, column], field.se[:, column]))
    for band, line, (values, errors) in zip(axis.collections, axis.lines, cuts, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
        (outline,) = band.get_paths()
        edges = {x: outline.vertices[outline.vertices[:, 0] == x, 1] for x in range(len(values))}
        np.testing.assert_allclose([min(y) for y in edges.values()], values - errors)
        np.testing.assert_allclose([max(y) for y in edges.values()], values + errors)


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(NETWORK)
    return f"{file}:build"


def test_the_command_prints_a_table_and_writes_what_it_is_asked_for(source, tmp_path, capsys):
    names = {suffix: tmp_path / f"found.{suffix}" for suffix in ("html", "json", "parquet")}
    files = ("--out", names["html"], "--json", names["json"], "--parquet", names["parquet"])
    arguments = ["look", source, "--crop", 64, "--most", 8, "--weights", "drawn", *files]
    assert command.main([*map(str, arguments)]) == 0
    printed = capsys.readouterr().out
    assert "| stride16 |" in printed and "Images: 8 synthetic ones" in printed
    assert "Weights: drawn at random." in printed
    said = json.loads(names["json"].read_text())
    assert [row["target"] for row in said["targets"]][-1] == "output"
    assert said["targets"][-1]["size_h"] is None and said["weights"] == "drawn at random"
    sums = parquet.read(names["parquet"], schemas.BLOCK)
    assert len(sums) == 4 * 64 * 64 and (sums["count"] == 8).all()
    text = names["html"].read_text()
    assert text.count("data:image/png;base64,") == 2 and "://" not in text
    for wanted in ("What ", "3 operations", "stride16", "Weights: drawn", "<li>Sequential.0.0"):
        assert wanted in text


def test_json_can_be_printed_alone(source, tmp_path, capsys):
    page = ["--out", str(tmp_path / "page.html")]
    arguments = ["look", source, "--crop", "64", "--most", "2", "--json", "-", *page]
    assert command.main(arguments) == 0
    assert len(json.loads(capsys.readouterr().out)["targets"]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_net"], "unknown model"),
        (["{source}", "--images", "nowhere"], "image folder nowhere is missing"),
        (["{source}", "--images", "{empty}"], "two images are needed"),
        (["{source}", "--out", "nowhere/page.html"], "there is no folder"),
        (["{source}", "--weights", "nowhere.pt"], "--weights: "),
        (["{source}", "--weights", "published"], "--weights: nobody publishes weights of "),
        (["{source}", "--mean", "0.5", "--std", "0.5", "0.5"], "--mean has 1 numbers and --std 2"),
        (["{source}", "--crop", "64", "--resize", "32"], "larger than images resized"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, source, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    names = {"source": source, "empty": tmp_path / "empty"}
    assert command.main(["look", *(part.format(**names) for part in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("deadpixel: ") and message in line


def test_who_interrupts_gets_no_traceback(source, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(look, "look", interrupted)
    assert command.main(["look", source, "--crop", "64"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_network_that_nothing_can_pad_is_looked_at_all_the_same():
    class Averages(nn.Conv2d):
        def forward(self, image):
            return super().forward(image) / self.weight.numel()

    halves = [Averages(3, 8, 3, 2, 1), nn.ReLU(), Averages(8, 8, 3, 2, 1), nn.ReLU()]
    network = nn.Sequential(*halves, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    images = loose.images(None, 2, TRANSFORM)
    found = look.look(network, images)
    assert found.added == 0 and len(found.left_odd) == len(found.odd) == 2
    assert "2 operations" in shown.sentences(found)[-1]
    assert "make 0 of them even" in shown.sentences(found)[-1]
    with pytest.raises(InputError, match="two images"):
        loose.images(None, 1, TRANSFORM)
    assert isinstance(found.tiles, pd.DataFrame)
