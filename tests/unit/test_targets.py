"""A feature map is the same whichever way it lies in what a module yields."""

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

import plain
from deadpixel import erf
from deadpixel.errors import InputError
from deadpixel.features import features
from deadpixel.targets import Target, feature, of_all

SIDE = 16
IMAGES = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


class Arranged(nn.Module):
    """Maps of 4 x 4 places, as others arrange them, and what they put beside them."""

    def __init__(self, arrange) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.Tanh(), nn.Conv2d(6, 6, 3, 2, 1), nn.Tanh()
        )
        self.last = nn.Identity()
        self.arrange = arrange

    def forward(self, image: Tensor):
        maps = self.maps(image)
        self.last(self.arrange(maps))
        return maps.mean((2, 3))


def tokens(maps: Tensor, before: int) -> Tensor:
    found = maps.flatten(2).transpose(1, 2)
    return torch.cat([found.mean(1, keepdim=True)] * before + [found], 1)


ARRANGED = {
    "nchw": (lambda maps: maps, {}),
    "nhwc": (lambda maps: maps.permute(0, 2, 3, 1), {}),
    "tokens": (lambda maps: tokens(maps, 0), {}),
    "a class token": (lambda maps: tokens(maps, 1), {}),
    "distilled": (lambda maps: tokens(maps, 2), {}),
    "registers": (lambda maps: tokens(maps, 5), {"prefix": 5}),
    "in a tuple": (lambda maps: (maps.mean(), maps), {"part": 1}),
    "in a list, tokens": (lambda maps: [tokens(maps, 1), maps], {"part": 0}),
    "in a dict": (lambda maps: {"out": maps.permute(0, 2, 3, 1), "aux": maps}, {"part": "out"}),
}


@pytest.mark.parametrize(("arrange", "said"), ARRANGED.values(), ids=ARRANGED)
@pytest.mark.parametrize("place", [None, [1, 3]])
def test_the_field_of_a_map_is_that_of_its_layout_in_any(arrange, said, place):
    model = Arranged(arrange)
    wanted = {"maps": {"module": "maps", "place": place}, "last": {"module": "last", **said}}
    wanted["last"]["place"] = place
    found = erf.accumulate(model, IMAGES, wanted, dtype=torch.float64)
    assert np.array_equal(found["maps"].total, found["last"].total)
    assert found["maps"].total.any()
    if place is None:
        truth = plain.field(model, IMAGES, "maps")
        assert np.linalg.norm(found["last"].mean - truth) < 1e-12 * np.linalg.norm(truth)


class Repeated(nn.Module):
    """One module, called three times."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.end = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        for _ in range(3):
            image = torch.tanh(self.conv(image))
        return self.end(image).mean((2, 3))


def test_a_call_is_chosen():
    found = erf.accumulate(
        Repeated(), IMAGES, {str(n): {"module": "conv", "call": n} for n in range(3)}
    )
    reach = [int(found[str(n)].mean.any(0).sum()) for n in range(3)]
    assert reach == [3, 5, 7]
    with pytest.raises(InputError, match=r"'conv' is called more than once: .*\{module: conv, cal"):
        erf.accumulate(Repeated(), IMAGES, ["conv"])
    with pytest.raises(InputError, match="'conv' has no call 3: they are counted from 0"):
        erf.accumulate(Repeated(), IMAGES, {"conv": {"module": "conv", "call": 3}})


class Segmenting(nn.Module):
    """Class maps in a dict, as torchvision's networks for segmentation have it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        found = self.conv(image)
        return {"out": found, "aux": found * 2}


def test_the_output_may_be_a_map_with_a_logit_at_each_place():
    output = {"module": "output", "part": "out", "place": [2, 9]}
    model = Segmenting()
    found = erf.accumulate(model, IMAGES, {"output": output}, dtype=torch.float64)["output"].mean
    truth = np.zeros_like(found)
    with torch.no_grad():
        chosen = model(IMAGES)["out"][:, :, 2, 9].argmax(1)
    for label in chosen:
        weight = model.conv.weight[label].double().mean(0).relu().detach().numpy()
        truth[1:4, 8:11] += weight / len(IMAGES)
    np.testing.assert_allclose(found, truth, atol=1e-15)
    whole = {"output": {**output, "part": None}}
    with pytest.raises(InputError, match=r"a dict of out, aux, .*\{module: output, part: 0\}"):
        erf.accumulate(model, IMAGES, whole)


PARTS = {
    "unnamed tuple": ((lambda m: (m, m)), {}, r"a tuple of 2, no map: .*\{module: last, part: 0\}"),
    "unnamed dict": ((lambda m: {"x": m}), {}, r"a dict of x, no map: .*\{module: last, part: x\}"),
    "no such key": (
        (lambda m: {"x": m}),
        {"part": "y"},
        "a dict of x, of which there is no part 'y'",
    ),
    "no such index": ((lambda m: [m]), {"part": 1}, "a list of 1, of which there is no part 1"),
    "no tensor": ((lambda m: [None]), {"part": 0}, "a NoneType, no map: choose another module"),
    "nothing": ((lambda m: None), {}, "a NoneType, no map: choose another module"),
}


@pytest.mark.parametrize(("arrange", "said", "message"), PARTS.values(), ids=PARTS)
def test_a_part_that_is_not_there_is_named(arrange, said, message):
    with pytest.raises(InputError, match=message):
        erf.accumulate(Arranged(arrange), IMAGES, {"t": {"module": "last", **said}})


def test_a_target_is_written_as_it_is_read():
    target = Target("blocks.11", "tokens", 1, (14, 7), 0, 2, (3, 4))
    assert of_all({"t": yaml.safe_load(str(target))}) == {"t": target}
    assert str(Target("layer4")) == "layer4"
    assert of_all(["a", "a", "b"]) == {"a": Target("a"), "b": Target("b")}
    assert of_all({"t": target}) == {"t": target}


WRONG = {
    "unknown key": ({"module": "a", "stride": 2}, "no key 'stride': use module, layout"),
    "no module": ({"layout": "nchw"}, "has module: None"),
    "empty": ({"module": ""}, "has module: ''"),
    "layout": ({"module": "a", "layout": "nwhc"}, "has layout: 'nwhc'"),
    "prefix": ({"module": "a", "prefix": -1}, "has prefix: -1"),
    "truth": ({"module": "a", "call": True}, "has call: True"),
    "grid": ({"module": "a", "grid": [0, 3]}, r"has grid: \[0, 3\]"),
    "three": ({"module": "a", "place": [1, 2, 3]}, r"has place: \[1, 2, 3\]"),
    "part": ({"module": "a", "part": 1.5}, "has part: 1.5"),
}


@pytest.mark.parametrize(("said", "message"), WRONG.values(), ids=WRONG)
def test_what_a_target_cannot_be_is_named(said, message):
    with pytest.raises(InputError, match=f"target 't' .*{message}"):
        of_all({"t": said})


def test_what_is_not_as_the_target_says_is_refused():
    maps = torch.zeros(2, 17, 6)
    for target in (
        Target("m", "nchw"),
        Target("m", "tokens", 0, (4, 4)),
        Target("m", "tokens", 1, (4, 5)),
    ):
        with pytest.raises(InputError, match=r"'t' yields \(2, 17, 6\), which is not \{module: m"):
            feature(maps, "t", target)
    for place in ((4, 0), (0, 4)):
        with pytest.raises(InputError, match="outside target 't' of 4 x 4"):
            feature(maps, "t", Target("m", "tokens", 1, (4, 4), place=place))


def test_features_are_those_of_the_place():
    maps = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    model = nn.Identity()
    for layout, arranged in (("nchw", maps), ("nhwc", maps.permute(0, 2, 3, 1))):
        target = Target("output", layout, place=(1, 4))
        found = features(model, arranged, {"t": target})["t"]
        assert torch.equal(found, maps[:, :, 1, 4])
        assert torch.equal(feature(arranged, "t", target.at((2, 0))), maps[:, :, 2, 0])
