"""Kinds of kernels by name: what each changes, of which modules, and that it changes no other."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from deadpixel import kernels, training
from deadpixel.errors import InputError
from deadpixel.networks import zoo
from deadpixel.surgery import kinds, selection
from deadpixel.surgery.changes import Averages, is_changed

ROOT = Path(__file__).resolve().parents[2]
KINDS = yaml.safe_load((ROOT / "config.yaml").read_text())["kernels"]
IMAGE = torch.zeros(1, 3, 65, 65)  # maps of 33, 17, 9, 5 and 3 cells
STEM = ["conv1", "maxpool"]
SHORTCUTS = [f"layer{number}.0.downsample.0" for number in (2, 3, 4)]
MAIN = [f"layer{number}.0.conv1" for number in (2, 3, 4)]
CHANGED = {
    "odd": [],
    "padded": [*STEM, *MAIN, *SHORTCUTS],
    "sliced": [*STEM, *MAIN, *SHORTCUTS],
    "redrawn": ["conv1", *MAIN, *SHORTCUTS],
    "stem": STEM,
    "rest": [*MAIN, *SHORTCUTS],
    "shortcuts": SHORTCUTS,
    "main": MAIN,
    "averaged": SHORTCUTS,
    "blurpool": [*STEM, *MAIN, *SHORTCUTS],
    "blurpool3": [*STEM, *MAIN, *SHORTCUTS],
    "blurpool_rest": ["maxpool", *MAIN, *SHORTCUTS],
    "space_to_depth": ["conv1", *MAIN, *SHORTCUTS],
}


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return zoo.build("resnet18", seed=1)


def started(network: nn.Module, kind: str) -> nn.Module:
    """As a run of the micro-object task starts from a network that is drawn by the seed."""
    again = zoo.build("resnet18", seed=1)
    again.load_state_dict(network.state_dict())
    size = {"input_size": (65, 65)}
    return training.starting_network(again, 2, kind, KINDS[kind], init="random", seed=4, **size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_what_it_names_and_nothing_else(resnet18: nn.Module, kind: str) -> None:
    """To the last bit, the head included."""
    odd, changed = (started(resnet18, name) for name in ("odd", kind))
    before, after = (dict(network.named_modules()) for network in (odd, changed))
    assert before.keys() == after.keys()
    differing = [
        name
        for name, module in after.items()
        if not [*module.children()] and not same(before[name], module)
    ]
    assert sorted(differing) == sorted(CHANGED[kind])


def same(before: nn.Module, after: nn.Module) -> bool:
    mine, theirs = (module.state_dict() for module in (before, after))
    values = all(torch.equal(mine[name], theirs[name]) for name in mine)
    return values and repr(before) == repr(after) and not is_changed(after)


@pytest.mark.parametrize("kind", ["blurpool", "blurpool3", "blurpool_rest"])
def test_a_blurred_network_starts_from_the_weights_of_the_odd_one(
    resnet18: nn.Module, kind: str
) -> None:
    """All of them, and under the same names."""
    odd, blurred = (started(resnet18, name).state_dict() for name in ("odd", kind))
    assert odd.keys() == blurred.keys()
    assert all(torch.equal(odd[name], blurred[name]) for name in odd)


def test_redrawn_kernels_are_odd_and_drawn_as_padded_ones(resnet18: nn.Module) -> None:
    """Uniform within 1 / sqrt(inputs of a unit), where torchvision draws a normal distribution."""
    redrawn, padded = (started(resnet18, kind) for kind in ("redrawn", "padded"))
    for name in CHANGED["redrawn"]:
        for network in (redrawn, padded):
            weight = network.get_submodule(name).weight
            scaled = weight * weight[0].numel() ** 0.5
            assert 0.97 < scaled.abs().max() <= 1 + 1e-6
            assert scaled.std().item() == pytest.approx(3**-0.5, rel=0.03)
    assert [*kernels.odd_strided(redrawn, IMAGE)] == [*kernels.odd_strided(resnet18, IMAGE)]


def test_kernels_that_padding_does_not_draw_are_not_redrawn(resnet18: nn.Module) -> None:
    same_as_odd = kernels.apply(resnet18, "redrawn", KINDS["redrawn"])
    before, after = resnet18.state_dict(), same_as_odd.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (7, 5)])
def test_an_averaged_shortcut_is_the_even_one_of_equal_weights(size: tuple[int, int]) -> None:
    """A quarter of the weight in each of its four places; at an odd border, of those inside."""
    odd = nn.Conv2d(3, 5, 1, 2).double()
    averaged = kernels.apply(nn.Sequential(odd), "averaged", {"average": "all"})
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    found = averaged(image)
    assert found.shape == odd(image).shape
    inside = torch.ones(1, 1, *size, dtype=torch.float64)
    room = [size[1] % 2, size[0] % 2]
    padded, counted = (functional.pad(x, [0, room[0], 0, room[1]]) for x in (image, inside))
    weight = odd.weight.expand(-1, -1, 2, 2)
    expected = functional.conv2d(padded, weight, stride=2)
    expected /= functional.conv2d(counted, torch.ones(1, 1, 2, 2).double(), stride=2)
    torch.testing.assert_close(found, expected + odd.bias[:, None, None])
    assert isinstance(next(iter(averaged[0]._forward_pre_hooks.values())), Averages)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ("all", ["a", "b.c", "b.d"]),
        ("b.*", ["b.c", "b.d"]),
        (["b.d", "a"], ["a", "b.d"]),
        ({"except": "a"}, ["b.c", "b.d"]),
        ({"except": ["b.c", "a"]}, ["b.d"]),
        ({"stride": 1}, ["a"]),
        ({"stride": "2"}, ["b.c"]),
        ({"stride": "1..2"}, ["a", "b.c"]),
        ({"stride": "2.."}, ["b.c", "b.d"]),
        ({"except": {"stride": "2..4"}}, ["a"]),
    ],
)
@pytest.mark.parametrize("side", [32, 33])
def test_modules_are_selected(which: selection.Selection, found: list[str], side: int) -> None:
    """By the map that each reads: of the image, of its half, of its quarter, borders aside."""
    halves = [nn.Conv2d(1, 1, 3, 2, 1) for _ in range(3)]
    model = nn.Sequential()
    model.a, model.b = halves[0], nn.Sequential()
    model.b.c, model.b.d = halves[1:]
    names = ["a", "b.c", "b.d"]
    assert selection.chosen(which, names, model, torch.zeros(1, 1, side, side)) == found


@pytest.mark.parametrize(
    ("surgeries", "message"),
    [
        ({"pad": "conv9"}, r"kernels\.mine\.pad: 'conv9' is the name of no kernel .+ conv1, m"),
        ({"pad": {"except": ["conv1", "x*"]}}, r"'x\*' is the name of no kernel"),
        ({"pad": {"stride": "64.."}}, r"no kernel to be changed reads at a stride of 64\.\."),
        ({"padd": "all"}, r"kernels\.mine\.padd: there is no such surgery: use pad, slice, redraw"),
        ({"pad": {"strid": 1}}, r"kernels\.mine\.pad: {'strid': 1} is no selection: write all, na"),
        ({"pad": {"stride": 1, "except": "conv1"}}, r"is no selection: .* or {stride: 1\.\.2}"),
        ({"pad": {}}, r"kernels\.mine\.pad: {} is no selection"),
        ({"pad": {"stride": "1-2"}}, r"stride '1-2' is no number or range: write it as 4, 1\.\.2"),
        ({"pad": {"stride": None}}, r"stride None is no number or range"),
        ({"pad": None}, r"kernels\.mine\.pad: None is no selection"),
        ({"pad": ["conv1", 3]}, r"\['conv1', 3\] is no selection"),
        ({"average": "conv1"}, r"kernels\.mine\.average: 'conv1' is the name of no"),
    ],
)
def test_what_selects_nothing_is_refused(
    resnet18: nn.Module, surgeries: dict[str, selection.Selection], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        kernels.apply(resnet18, "mine", surgeries)


class Centred(nn.Module):
    """Its constants are no buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.scale = torch.tensor([0.4, 0.4, 0.4]).view(1, 3, 1, 1), torch.ones(1)
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image -= self.mean
        rows = torch.linspace(0, 1, image.shape[2], device=image.device)[:, None]
        return self.second(self.first(image * self.scale + rows) * torch.tensor(2.0))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_strides_are_known_whatever_constants_a_network_has(device: str) -> None:
    names, image = ["first", "second"], torch.ones(1, 3, 32, 32, device=device)
    assert selection.chosen({"stride": 2}, names, Centred(), image) == ["second"]
    assert device == "meta" or (image == 1).all()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_network_that_fails_has_no_strides(device: str) -> None:
    model, image = Centred(), torch.zeros(1, 5, 32, 32, device=device)
    with pytest.raises(InputError, match=r"shape \(1, 5, 32, 32\) \(Runt.* select by names inst"):
        selection.chosen({"stride": 2}, ["first"], model, image)


def test_surgeries_follow_one_another_and_the_network_stays_as_it_was(resnet18: nn.Module) -> None:
    before = repr(resnet18)
    both = kernels.apply(resnet18, "both", {"pad": STEM, "average": "all"})
    left = [text.split()[0] for text in kernels.odd_strided(both, IMAGE)]
    assert [name.split(".", 1)[1] for name in left] == [f"{name}:" for name in MAIN]
    assert repr(resnet18) == before


def test_a_kind_at_another_crop_has_that_in_its_name():
    assert kinds.at_crop("odd", 225) == "odd_225px"
    assert kinds.kind_and_crop("odd_225px") == ("odd", 225)
    for plain in ("odd", "my_65", "odd_px", "odd_065px", "odd_65px_too", "65px"):
        assert kinds.kind_and_crop(plain) == (plain, None)
