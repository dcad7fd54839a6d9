"""Layouts are found where they are clear, asked for where they are not, and refused when wrong."""

import logging
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

import narrow
from deadpixel import erf, reading, receptive_field
from deadpixel.errors import InputError
from deadpixel.reading import completed, last_maps, moves_of, named, with_stages
from deadpixel.targets import Target


class Yields(nn.Module):
    """A module that yields what it is given, in a network that says something of itself."""

    def __init__(self, *shape: int, **said) -> None:
        super().__init__()
        self.block = nn.Identity()
        self.shape = shape
        for name, value in said.items():
            setattr(self, name, value)

    def forward(self, image: Tensor) -> Tensor:
        self.block(torch.zeros(len(image), *self.shape))
        return image.mean((2, 3))


def found(model: nn.Module, size: tuple[int, int], **said) -> str:
    targets = named({"t": {"module": "block", **said}}, ["block"])
    target = completed(model, torch.zeros(2, 3, *size), targets)["t"]
    return str(target).replace("module: block, layout: ", "")


CLEAR = [
    # what a module yields, of images of which size, what the network says, how it is read
    ((512, 7, 7), (224, 224), {}, "{nchw}"),
    ((7, 7, 768), (224, 224), {}, "{nhwc}"),
    ((7, 5, 768), (224, 160), {}, "{nhwc}"),
    ((5, 7, 768), (160, 224), {}, "{nhwc}"),
    ((768, 7, 5), (224, 160), {}, "{nchw}"),
    ((60, 56, 56), (224, 224), {}, "{nchw}"),
    ((56, 56, 60), (224, 224), {}, "{nhwc}"),
    ((1, 4, 3), (97, 65), {}, "{nchw}"),  # rounded up
    ((6, 88, 64), (96, 72), {}, "{nchw}"),  # borders lost
    ((3, 286, 214), (96, 72), {}, "{nchw}"),  # enlarged
    ((320, 1, 1), (64, 64), {}, "{nchw}"),
    ((1, 1, 320), (64, 64), {}, "{nhwc}"),
    ((8, 8, 8), (64, 64), {"output_fmt": "NHWC"}, "{nhwc}"),
    ((8, 8, 8), (64, 64), {"output_fmt": "NCHW"}, "{nchw}"),
    ((512, 7, 7), (224, 224), {"output_fmt": "NHWC"}, "{nchw}"),  # it is said of others
    ((196, 384), (224, 224), {}, "{tokens, prefix: 0, grid: [14, 14]}"),
    ((197, 384), (224, 224), {}, "{tokens, prefix: 1, grid: [14, 14]}"),
    ((198, 384), (224, 224), {}, "{tokens, prefix: 2, grid: [14, 14]}"),
    ((201, 384), (224, 224), {}, "{tokens, prefix: 5, grid: [14, 14]}"),
    ((35, 384), (224, 160), {}, "{tokens, prefix: 0, grid: [7, 5]}"),
    ((36, 384), (160, 224), {}, "{tokens, prefix: 1, grid: [5, 7]}"),
    ((9, 32), (64, 64), {"num_prefix_tokens": 5}, "{tokens, prefix: 5, grid: [2, 2]}"),
    ((9, 32), (64, 64), {"num_prefix_tokens": 8}, "{tokens, prefix: 8, grid: [1, 1]}"),
    ((196, 32), (224, 224), {"num_prefix_tokens": 1}, "{tokens, prefix: 0, grid: [14, 14]}"),
]


@pytest.mark.parametrize(("shape", "size", "said", "expected"), CLEAR, ids=str)
def test_a_clear_layout_is_found(shape, size, said, expected):
    assert found(Yields(*shape, **said), size) == expected


def test_the_nearest_module_that_says_something_is_believed():
    model = nn.Sequential(Yields(9, 32, num_prefix_tokens=8))
    model.num_prefix_tokens = 5
    targets = named({"t": "0.block"}, ["0.block"])
    assert completed(model, torch.zeros(1, 3, 64, 64), targets)["t"].prefix == 8


def test_what_the_user_says_decides():
    assert found(Yields(8, 8, 8), (64, 64), layout="nhwc") == "{nhwc}"
    assert found(Yields(7, 9, 30), (64, 64), layout="nhwc") == "{nhwc}"
    assert found(Yields(9, 32), (64, 64), prefix=5) == "{tokens, prefix: 5, grid: [2, 2]}"
    assert found(Yields(9, 32), (64, 64), grid=[2, 4]) == "{tokens, prefix: 1, grid: [2, 4]}"


UNCLEAR = [
    ((8, 8, 8), {}, "may be {module: block, layout: nchw} or {module: block, layout: nhwc}: write"),
    ((9, 32), {}, r"prefix: 5, grid: \[2, 2\]} or .*prefix: 8, .*models\.NAME\.targets\.t"),
    ((15, 32), {}, r"\(2, 15, 32\) of images of 64 x 64 px, which is no map of equal strides"),
    ((30, 10, 20), {}, r"no map of equal strides: say how to read it under models\.NAME\.targets"),
    ((32,), {}, r"\(2, 32\) .* no map"),
    ((2, 3, 4, 5), {}, r"\(2, 2, 3, 4, 5\) .* no map"),
    ((9, 32), {"layout": "nchw"}, "no map of equal strides as {module: block, layout: nchw}"),
    ((9, 32), {"prefix": 2}, "no map of equal strides as {module: block, prefix: 2}"),
    ((9, 32), {"grid": [4, 4]}, r"no map of equal strides as {module: block, grid: \[4, 4\]}"),
    ((9, 32), {"prefix": 2, "grid": [2, 4]}, "no map of equal strides"),
]


@pytest.mark.parametrize(("shape", "said", "message"), UNCLEAR, ids=str)
def test_what_is_not_clear_is_asked_for(shape, said, message):
    with pytest.raises(InputError, match=message):
        found(Yields(*shape), (64, 64), **said)


class Patches(nn.Module):
    """Patches, embedded and mixed with their neighbours, in any layout."""

    def __init__(self, arrange=lambda maps: maps, side: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 10, side, side)
        self.mix = nn.Conv2d(10, 10, 3, padding=1)
        self.last = nn.Identity()
        self.arrange = arrange

    def forward(self, image: Tensor) -> Tensor:
        maps = self.mix(torch.tanh(self.embed(image)))
        return self.last(self.arrange(maps)).flatten(1)


IMAGES = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
MISREAD = {
    "rows and columns of another map": (
        lambda maps: maps.permute(0, 2, 3, 1).flatten(1, 2),
        {"layout": "tokens", "prefix": 0, "grid": [8, 32]},
    ),
    "strides of another map": (
        lambda maps: maps.permute(0, 2, 3, 1).flatten(1, 2),
        {"layout": "tokens", "prefix": 0, "grid": [32, 8]},
    ),
    "columns first": (
        lambda maps: maps.transpose(2, 3).flatten(2).transpose(1, 2),
        {},
    ),
    "upside down": (lambda maps: maps.flip(2), {}),
    "windows one after the other": (
        lambda maps: (
            maps.unflatten(3, (2, 8)).unflatten(2, (2, 8)).permute(0, 2, 4, 3, 5, 1).flatten(1, 4)
        ),
        {},
    ),
    "channels first": (lambda maps: maps.permute(0, 2, 3, 1), {"layout": "nchw"}),
}


@pytest.mark.parametrize(("arrange", "said"), MISREAD.values(), ids=MISREAD)
def test_a_wrong_layout_is_seen_by_moving_the_place(arrange, said):
    model = Patches(arrange, 8)
    with pytest.raises(InputError, match=r"where its place moves from \(.*centre moves from \(\d"):
        erf.accumulate(model, IMAGES, {"last": {"module": "last", **said}})


def test_the_move_of_a_field_is_measured_in_pixels():
    """Of patches without overlap it is the patch itself, whose centre is known."""
    model = Patches().double()
    targets = {"t": Target("embed", "nchw", place=(3, 0))}
    (down, right) = moves_of(model, IMAGES.double(), targets)["t"]
    assert (down.places, down.cells, down.stride) == (((2, 0), (4, 0)), 2, 16)
    assert (right.places, right.cells, right.stride) == (((3, 0), (3, 1)), 1, 16)
    first = down.centres[0].tolist()
    assert abs(first[0] - (2 * 16 + 7.5)) < 1.5 and abs(first[1] - 7.5) < 1.5
    torch.testing.assert_close(down.centres[1] - down.centres[0], torch.tensor([32.0, 0]).double())
    torch.testing.assert_close(
        right.centres[1] - right.centres[0], torch.tensor([0, 16.0]).double()
    )
    uniform = 16 / 128
    assert all(0.7 * uniform < spread < 1.3 * uniform for spread in down.spreads)


class Wide(nn.Module):
    """Every place of the map sees the whole image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 64 * 64, 2 * 16), nn.Unflatten(1, (2, 4, 4))
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.map(image).mean((2, 3))


@pytest.mark.parametrize(
    ("moved", "deviation", "is_wrong"),
    [
        ((32, 0), 10, False),
        ((0, 0), 10, True),
        ((96, 0), 10, True),
        ((32, 64), 10, True),
        ((-64, 0), 46, False),  # too wide to tell
    ],
)
def test_a_narrow_field_moves_by_its_stride_and_not_aside(moved, deviation, is_wrong):
    """The place moves down by one cell of 32 px."""
    centres = torch.tensor([[96.0, 96.0], [96.0 + moved[0], 96.0 + moved[1]]])
    deviations = torch.full((2, 2), float(deviation))
    move = reading.Move(0, ((3, 3), (4, 3)), centres, deviations, (224, 224), 32)
    assert move.is_wrong == is_wrong


def test_a_field_that_cannot_move_is_named(caplog):
    caplog.set_level(logging.INFO, "deadpixel")
    erf.accumulate(Wide(), IMAGES[:, :, :64, :64], ["map"])
    assert (
        "target 'map', read as {module: map, layout: nchw}: its field is nearly as wide"
        in caplog.text
    )


class Borders(nn.Module):
    """A map whose fields are bells of 8 px, times what grows from the middle to the border.

    exp(-(x - c)^2 / 2 s^2) exp((x - m)^2 / 2 t^2) lies at m + (c - m) / (1 - s^2 / t^2).
    """

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Identity()
        pixel, cell = torch.arange(64.0) - 31.5, torch.arange(8.0)[:, None] * 8 - 28
        self.weight = torch.exp(-((pixel - cell) ** 2) / 2 / 8**2 + pixel**2 / 4 / 8**2)

    def forward(self, image: Tensor) -> Tensor:
        weight = self.weight.to(image)
        return self.map(torch.einsum("nchw,ih,jw->ncij", image, weight, weight)).mean((2, 3))


def test_a_wide_field_that_the_border_pulls_is_not_refused() -> None:
    """By two strides a cell, since s^2 / t^2 is a half, but for what the image cuts off."""
    images = torch.rand(2, 3, 64, 64)
    fields = reading.check(Borders(), images, {"map": Target("map", "nchw")})["map"]
    assert [move.steps[0] for move in fields] == [pytest.approx(1.9, abs=0.1)] * 2


def test_small_images_of_a_resnet_are_not_refused():
    """Where the image cuts a field off it moves less than its place; random weights are noisy."""
    torch.manual_seed(0)
    model = narrow.resnet18()
    erf.accumulate(model, IMAGES[:, :, :64, :64], ["layer1", "layer2", "layer3", "layer4"])


SHALLOW = {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 3}
NETWORKS = {
    "swin": (
        lambda: SwinTransformer([4, 4], 24, [2, 2], [1, 2], [7, 7], num_classes=10),
        "features.3",
        "nhwc",
    ),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", **SHALLOW), "blocks.1", "tokens"),
    "deit": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", **SHALLOW),
        "blocks.1",
        "tokens",
    ),
    "mambaout": (
        lambda: timm.create_model("mambaout_femto", depths=(1, 1), dims=(24, 48)),
        "stages.1",
        "nhwc",
    ),
}


@pytest.mark.parametrize(("make", "module", "layout"), NETWORKS.values(), ids=NETWORKS)
def test_networks_of_others_are_read_and_equal_a_hand_written_loop(make, module, layout):
    torch.manual_seed(0)
    model, images = make().eval(), IMAGES[:1, :, :64, :64]
    measured = erf.accumulate(model, images, [module], dtype=torch.float64)[module].mean
    (reading,) = completed(model, images, named([module], [module])).values()
    assert reading.layout == layout

    kept = []
    model.double().get_submodule(module).register_forward_hook(lambda _m, _a, out: kept.append(out))
    leaf = images.double().requires_grad_()
    model(leaf)
    if layout == "nhwc":
        middle = kept[0][0, kept[0].shape[1] // 2, kept[0].shape[2] // 2]
    else:
        middle = kept[0][0, -16:][2 * 4 + 2]  # of 4 x 4, behind one token or two
    middle.mean().backward()
    truth = leaf.grad[0].mean(0).relu().numpy()
    assert abs(measured - truth).max() < 1e-9 * truth.max()


def test_theoretical_fields_are_those_of_the_layout():
    fields = receptive_field.fields(
        Patches(lambda maps: maps.flatten(2).transpose(1, 2)), ["embed", "mix", "last"], (128, 128)
    )
    assert fields["last"] == fields["mix"]
    assert fields["mix"].size == (48, 48) and fields["embed"].stride == (16, 16)
    turned = receptive_field.fields(
        Patches(lambda maps: maps.permute(0, 2, 3, 1)), ["last"], (128, 96)
    )["last"]
    assert turned.size == (48, 48) and turned.stride == (16, 16) and turned.center == (71.5, 55.5)


def test_the_centre_of_a_theoretical_field_is_that_of_the_place():
    """As of the effective one; the stride and the first feature's centre are the map's."""
    corner = {"corner": {"module": "embed", "place": [1, 4]}, "middle": "embed"}
    found = receptive_field.fields(Patches(), corner, (128, 128))
    assert found["corner"].center == (1 * 16 + 7.5, 4 * 16 + 7.5)
    assert found["middle"].center == (4 * 16 + 7.5, 4 * 16 + 7.5)
    assert found["corner"].offset == found["middle"].offset == (7.5, 7.5)


RESNETS = ("resnet18", "resnet50")


class Backbone(nn.Module):
    """Stages of two convolutions each; what is inside a stage is at two strides."""

    class Stage(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.keep, self.halve = nn.Conv2d(channels, 5, 1), nn.Conv2d(5, 5, 2, 2)

        def forward(self, maps: Tensor) -> Tensor:
            return self.halve(self.keep(maps))

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([self.Stage(3), *(self.Stage(5) for _ in range(4))])

    def forward(self, image: Tensor) -> Tensor:
        for stage in self.stages:
            image = stage(image)
        return image


def test_last_maps_are_those_of_whole_blocks_in_a_network_within_another_too():
    """What is inside the next stage comes later, and is none of it."""
    for outer in (
        nn.Sequential(Backbone(), nn.Flatten()),
        nn.Sequential(nn.Sequential(Backbone())),
    ):
        modules = [target.module for target in last_maps(outer, IMAGES).values()]
        assert [name.rpartition("stages.")[2] for name in modules[:3]] == ["1", "2", "3"]


@pytest.mark.parametrize("name", RESNETS)
def test_last_maps_of_resnets_are_their_stages(name):
    found = last_maps(torchvision.models.get_model(name), IMAGES[:1])
    assert {stride: str(target) for stride, target in found.items()} == {
        f"stride{2 ** (stage + 1)}": f"{{module: layer{stage}, layout: nchw}}"
        for stage in (1, 2, 3, 4)
    }


def test_last_maps_of_networks_of_others():
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    assert {
        name: str(target) for name, target in last_maps(vit, IMAGES[:, :, :64, :64]).items()
    } == {"stride16": "{module: norm, layout: tokens, prefix: 1, grid: [4, 4]}"}
    swin = last_maps(torchvision.models.swin_t(), IMAGES[:1])
    assert [*swin] == ["stride4", "stride8", "stride16", "stride32"]
    assert str(swin["stride16"]) == "{module: features.5, layout: nhwc}"
    assert str(swin["stride32"]) == "{module: permute, layout: nchw}"


@pytest.mark.parametrize("wrap", [lambda maps, _: (maps, 3), lambda maps, name: {name: maps}])
def test_a_last_map_may_be_a_part(wrap):
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.AvgPool2d(8)

        def forward(self, images: Tensor) -> Any:
            return wrap(self.block(images) + 1, "maps")

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = Part()

        def forward(self, images: Tensor) -> Tensor:
            found = self.stage(images)
            return (found["maps"] if isinstance(found, dict) else found[0]).mean((2, 3))

    part = "maps" if isinstance(wrap(0, "maps"), dict) else 0
    found = last_maps(Whole(), IMAGES)
    assert found == {"stride8": Target("stage", "nchw", part=part)}
    assert erf.accumulate(Whole(), IMAGES, found)["stride8"].mean.any(0).sum() == 8


def test_a_map_that_may_lie_in_two_ways_lies_as_all_others_do():
    """At 32 px the map of 8 channels has 8 x 8 cells."""

    def halves(*channels: int) -> nn.Sequential:
        pairs = zip((3, *channels), channels, strict=False)
        return nn.Sequential(*(nn.Conv2d(*pair, 2, 2) for pair in pairs))

    image = torch.zeros(1, 3, 32, 32)
    assert str(last_maps(halves(4, 8, 16), image)["stride4"]) == "{module: 1, layout: nchw}"

    class Other(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.permute(0, 2, 3, 1)

    mixed = nn.Sequential(halves(4, 8, 5), Other())
    assert str(last_maps(mixed, image)["stride8"]) == "{module: 1, layout: nhwc}"
    assert "stride4" not in last_maps(mixed, image)


def test_a_map_in_a_chain_that_goes_on_to_another_stride_may_be_the_last_of_its_own():
    stem, same, halved = nn.Conv2d(3, 5, 4, 4), nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 2, 2)
    found = last_maps(nn.Sequential(stem, nn.Sequential(same, halved)), IMAGES)
    assert {name: target.module for name, target in found.items()} == {
        "stride4": "1.0",
        "stride8": "1",
    }


def test_tokens_in_another_order_are_no_last_map(caplog):
    (windows, _), (rows, _) = (
        MISREAD["windows one after the other"],
        MISREAD["strides of another map"],
    )
    assert last_maps(Patches(rows, 8), IMAGES) == {"stride8": Target("last", "tokens", 0, (16, 16))}
    assert not caplog.records
    assert last_maps(Patches(windows, 8), IMAGES) == {}
    assert "left out, as its tokens are in no order of rows: target 'stride8'" in caplog.text


def test_a_measurement_keeps_how_its_fields_move():
    measurement = erf.Measurement(
        Patches(), ["mix", "output"], "mean", "kim", "shared", torch.float64, torch.device("cpu")
    )
    measurement.over([(IMAGES, None)])
    assert [move.steps for move in measurement.moves["mix"]] == [
        (pytest.approx(1, abs=0.1), pytest.approx(0, abs=0.1))
    ] * 2
    assert measurement.moves["output"] == []


def test_the_last_call_of_a_module_is_the_one_of_the_last_map():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.halve = nn.AvgPool2d(2)
            self.end = nn.Flatten()

        def forward(self, image: Tensor) -> Tensor:
            for _ in range(6):
                image = self.halve(image)
            return self.end(image)

    found = last_maps(Shared(), IMAGES)
    assert [target.call for target in found.values()] == [1, 2, 3, 4]
    assert erf.accumulate(Shared(), IMAGES, found)["stride8"].mean.any(0).sum() == 8


def test_stages_are_found_where_they_are_asked_for_and_left_out_where_there_are_none():
    targets = {"stride8": None, "stride16": "mix", "stride32": None, "output": "output"}
    assert with_stages(Patches(), IMAGES, targets) == {"stride16": "mix", "output": "output"}
    last = with_stages(Patches(), IMAGES, {**targets, "stride16": None})["stride16"]
    assert last == Target("last", "nchw")
    assert with_stages(Patches(), IMAGES, {"a": "b"}) == {"a": "b"}
