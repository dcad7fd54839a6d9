"""The survey of small networks whose unevenness is known, and its table."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from deadpixel.errors import InputError
from deadpixel.files import schemas
from deadpixel.results.survey import SURVEY, figure, pictures, ranked
from deadpixel.sensitivity import Structure, described
from deadpixel.survey import survey

KINDS = {"odd": {}, "padded": {"pad": "all"}, "stem": {"pad": {"stride": "1..2"}}}
NETWORK = """
import torch
from torch import nn

def two():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, 2),
        nn.Conv2d(4, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )

def even():
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def fixed():
    return nn.Sequential(nn.Conv2d(3, 1, 3, 2, 1), nn.Flatten(), nn.Linear(32 * 32, 2))

def lopsided():
    return nn.Sequential(
        nn.ZeroPad2d((0, 4, 0, 4)), nn.Conv2d(3, 4, 5, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )

def centred():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.two = torch.tensor([0.4, 0.4, 0.4]).view(1, 3, 1, 1), two()
        def forward(self, image):
            return self.two(image - self.mean)
    return Centred()

def unknown():
    class Sums(nn.Module):
        def forward(self, image):
            return image.cumsum(2).mean((2, 3))
    return Sums()
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    return lambda name: f"{tmp_path}/net.py:{name}"


def test_rows_say_how_unevenly_a_network_sees_with_each_kind_of_kernels(source):
    """A 1 x 1 kernel of stride 2 leaves three of four places out; kernels of 4 meet all equally."""
    rows, tiles = zip(*survey(source("two"), KINDS, 224), strict=True)
    odd, padded, stem = rows
    assert [row["kernels"] for row in rows] == [*KINDS]
    assert all(tile.shape == (32, 32) for tile in tiles)
    assert odd["contrast"] > stem["contrast"] > 5 * padded["contrast"]
    assert odd["contrast"] == pytest.approx(np.sqrt(np.mean((tiles[0] - 1) ** 2)))
    assert odd["weakest_share"] == 7 / 16  # along each axis 3 of 4 pixels are met
    assert padded["weakest_share"] == 0 and odd["ratio"] == np.inf
    assert odd["operation"] == "2: convolution 1 x 1, stride 2 x 2"
    assert odd["contrast_without"] < odd["contrast"] / 2
    assert odd["asymmetry_y"] == pytest.approx(odd["asymmetry_x"]) and odd["asymmetry_y"] > 0.03
    assert padded["operation"] == "" and np.isnan(padded["contrast_without"])
    assert set(odd) == set(schemas.SURVEY.names)


def test_odd_kernels_have_the_sizes_of_images_at_which_both_edges_count_the_same(source):
    """Of 3 x 3, 1 x 1 and 3 x 3 with stride 2: 8 k + 1; of 4 x 4 with stride 4: 4 k."""
    odd, padded, *_ = (row for row, _ in survey(source("two"), KINDS, 224))
    assert (odd["own_side"], odd["even_side"], odd["even_step"]) == (224, 225, 8)
    assert odd["own_asymmetry"] == odd["asymmetry_y"] > 0
    assert np.isnan([padded["own_side"], padded["own_asymmetry"], padded["even_side"]]).all()
    ((even, _),) = survey(source("even"), KINDS, 62)
    assert (even["own_side"], even["even_side"], even["even_step"]) == (62, 64, 4)
    assert even["own_asymmetry"] == pytest.approx(
        1 / 6
    )  # two rows at the bottom are not seen at all


def test_where_a_network_takes_no_other_size_or_pads_itself_there_is_none(source):
    fixed, lopsided = (next(survey(source(name), KINDS, 64))[0] for name in ("fixed", "lopsided"))
    for row in (fixed, lopsided):
        assert row["own_side"] == 64 and abs(row["own_asymmetry"]) > 0.01
        assert np.isnan(row["even_side"]) and np.isnan(row["even_step"])


def test_constants_that_are_no_buffers_make_no_difference(source):
    of_both = zip(
        survey(source("centred"), KINDS, 64), survey(source("two"), KINDS, 64), strict=True
    )
    kinds = []
    for (found, tile), (truth, of_truth) in of_both:
        np.testing.assert_array_equal(tile, of_truth)
        assert found["reason"] == "" and found["contrast"] == truth["contrast"]
        kinds.append(found["kernels"])
    assert kinds == [*KINDS]


def test_networks_have_images_of_the_size_that_their_weights_are_published_for():
    from deadpixel.networks import zoo

    sizes = {
        "resnet18": 224,
        "torchvision:efficientnet_b1": 240,
        "timm:efficientnet_b0.ra_in1k": 224,
    }
    for source, side in sizes.items():
        assert zoo.own_side(source, zoo.structure(source)) == side
    assert zoo.own_side("net.py:two", nn.Identity()) is None
    (odd, _), *_ = survey("efficientnet_b1", {"odd": {}}, 64)
    assert (odd["own_side"], odd["even_side"], odd["even_step"]) == (240, 257, 32)
    assert odd["own_asymmetry"] != odd["asymmetry_y"]


def test_kinds_that_change_nothing_have_no_row(source):
    (row,), (tile,) = zip(*survey(source("even"), KINDS, 64), strict=True)
    assert row["kernels"] == "odd" and row["operation"] == ""
    assert np.allclose(tile, 1, atol=1e-12) and row["ratio"] == pytest.approx(1)


def test_a_network_with_an_unknown_operation_has_its_name_instead_of_numbers(source):
    (row,), (tile,) = zip(*survey(source("unknown"), KINDS, 32), strict=True)
    assert "aten.cumsum.default" in row["reason"] and np.isnan(row["contrast"]) and not len(tile)
    assert set(row) == set(schemas.SURVEY.names)


def test_a_network_that_there_is_not_is_the_users_to_mend():
    with pytest.raises(InputError, match="did you mean resnet18"):
        [*survey("resnet81", KINDS, 32)]


def test_torchvisions_networks_are_built_without_weights():
    (row, _), *_others = survey("squeezenet1_1", KINDS, 224)
    assert row["contrast"] == pytest.approx(0.301, abs=0.002)


def test_without_an_operation_s_unevenness_its_map_has_equal_cells(source):
    """Of the only one that is uneven nothing is left."""
    from deadpixel.networks import zoo

    structure = Structure(zoo.build(source("two")), (64, 64))
    steps = structure.uneven()
    assert [described(step).partition(":")[0] for step in steps] == ["0", "2", "3"]
    inside = structure.field(evened=steps)[16:48, 16:48]
    assert np.ptp(inside) < 1e-9 * inside.mean()


def test_networks_are_ranked_by_their_odd_kernels_and_drawn():
    names = ["network", "kernels", "contrast", "reason"]
    rows = [
        *(("low", "odd", 0.1, ""), ("low", "padded", 0.3, ""), ("unknown", "odd", np.nan, "why")),
        *(("high", "odd", 0.2, ""), ("high", "padded", 0.0, "")),
    ]
    table = ranked(pd.DataFrame(rows, columns=names).reindex(columns=schemas.SURVEY.names))
    assert [*table["network"]] == ["high", "high", "low", "low", "unknown"]
    assert [*table["kernels"]][:4] == ["odd", "padded"] * 2
    assert [*table.columns] == SURVEY.names
    pixels = {"kernels": "odd", "row": [0, 0], "col": [0, 1], "sensitivity": [0.5, 1.5]}
    tiles = [pd.DataFrame(pixels).assign(network=network) for network in ("high", "low")]
    drawn = figure(table, pd.concat(tiles))
    others = [tiles[0].assign(network="my/net.py:two")]
    others += [tiles[1].assign(kernels="padded", sensitivity=9)]
    alone = dict(pictures(pd.concat([*tiles, *others])))
    assert [*alone] == ["high", "low", "my%2Fnet.py%3Atwo"]
    assert alone["low"].axes[0].get_title() == "low"
    assert alone["low"].axes[0].images[0].get_array().tolist() == [[0.5, 1.5]]
    ticks = drawn.subfigs[0].axes[0].get_yticklabels()
    assert [tick.get_text() for tick in ticks] == ["high", "low"]
