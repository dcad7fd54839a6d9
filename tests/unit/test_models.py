"""Networks from their names or the user's file, their calibration, and their checkpoints."""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors import safe_open
from torch import Tensor, nn

from deadpixel import models
from deadpixel.errors import InputError

ACCURACY = {  # Table 1 of the paper
    "resnet18": (69.758, 89.078),
    "resnet34": (73.314, 91.420),
    "resnet50": (76.130, 92.862),
    "resnet101": (77.374, 93.546),
    "resnext50_32x4d": (77.618, 93.698),
    "resnet152": (78.312, 94.046),
    "wide_resnet50_2": (78.468, 94.086),
    "wide_resnet101_2": (78.848, 94.284),
    "resnext101_32x8d": (79.312, 94.526),
}


def _same(a: nn.Module, b: nn.Module) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ------------------------------------------------------------------------------------ build


@pytest.mark.parametrize("name", ACCURACY)
def test_the_papers_networks(name: str) -> None:
    """They are torchvision's, ready for evaluation; built without values, which takes seconds."""
    with torch.device("meta"):
        model = models.build(name)
    expected = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta["num_params"]
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert not any(module.training for module in model.modules())


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A network of the user's, with all that makes a module of its own."""
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "@dataclass\n"
        "class Size:\n"
        "    width: int\n"
        "class Net(nn.Sequential): pass\n"
        "def make(): return Net(nn.Conv2d(3, Size(4).width, 3), nn.Dropout())\n"
        "def number(): return 3\n"
        "def broken(): return 1 / 0\n"
        "constant = 3\n"
    )
    return f"{tmp_path}/net.py"


def test_own_network(own: str) -> None:
    """Of a factory or a class, drawn by the seed as the others are."""
    model = models.build(f"{own}:make", seed=1)
    assert not model.training
    assert model(torch.zeros(1, 3, 5, 5)).shape == (1, 4, 3, 3)
    assert _same(model, models.build(f"{own}:make", seed=1))
    assert not _same(model, models.build(f"{own}:make", seed=2))
    assert len(models.build(f"{own}:Net")) == 0


def test_own_file_by_a_relative_path(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(own).parent)
    assert _same(models.build("net.py:make"), models.build(f"{own}:make"))


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_seed(name: str, recwarn: pytest.WarningsRecorder) -> None:
    """The same seed draws the same weights, wherever the global generator stands."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = models.build(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert _same(model, models.build(name, seed=3))
    assert not _same(model, models.build(name, seed=4))
    assert not list(recwarn)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("resnet_18", "unknown model 'resnet_18'.*resnet18.*vgg16.*file.py:factory"),
        ("fasterrcnn_resnet50_fpn", "unknown model"),
        ("{folder}/missing.py:make", "{folder}/missing.py is missing"),
        ("{folder}:make", "{folder} is missing"),
        ("{folder}/net.txt:make", "{folder}/net.txt is .*no .py file"),
        ("{folder}/net.py:absent", "{folder}/net.py defines no function 'absent'"),
        ("{folder}/net.py:constant", "{folder}/net.py defines no function 'constant'"),
        ("{folder}/net.py:", "{folder}/net.py defines no function ''"),
        ("{folder}/net.py:number", r"number\(\) returned .*int.*no nn.Module"),
    ],
)
def test_unknown_networks(own: str, source: str, problem: str) -> None:
    """The message says what there is instead, or what is missing."""
    folder = str(Path(own).parent)
    (Path(folder) / "net.txt").write_text("constant = 3")
    with pytest.raises(InputError, match=problem.replace("{folder}", re.escape(folder))):
        models.build(source.replace("{folder}", folder))


def test_own_errors_keep_their_traceback(own: str) -> None:
    """An error inside the user's code is the user's to see, with its place."""
    with pytest.raises(ZeroDivisionError) as error:
        models.build(f"{own}:broken")
    assert str(error.traceback[-1].path) == own
    Path(own).write_text("import no_such_package\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        models.build(f"{own}:make")


# -------------------------------------------------------------------------- published weights


@pytest.mark.parametrize("name", ACCURACY)
def test_published_accuracy(name: str) -> None:
    assert models.imagenet_accuracy(name) == ACCURACY[name]


@pytest.mark.parametrize("name", ["net.py:make", "vit_h_14", "no_such_network"])
def test_no_published_weights(name: str) -> None:
    """Of the user's own network, of one trained otherwise, and of none at all."""
    assert models.imagenet_accuracy(name) is None


# ------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("vgg11", "classifier.6"),
        ("densenet121", "classifier"),
        ("squeezenet1_1", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("googlenet", "fc"),
    ],
)
def test_a_new_head_has_the_classes_and_is_the_same_for_the_same_seed(name: str, head: str) -> None:
    model = models.build(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert models.replace_head(model, 7, seed=3) is model
    assert torch.equal(torch.random.get_rng_state(), state)
    changed = {k for k, v in model.state_dict().items() if v.shape != before[k].shape}
    assert changed == {f"{head}.weight", f"{head}.bias"}
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    again, other = (models.replace_head(models.build(name), 7, seed=s) for s in (3, 4))
    weights = [m.get_submodule(head).weight for m in (model, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_network_without_a_head() -> None:
    with pytest.raises(InputError, match="no linear layer"):
        models.replace_head(nn.Sequential(nn.ReLU()), 7, seed=0)


# -------------------------------------------------------------------------------- calibrate


def _net(dropout: float = 0.0) -> nn.Sequential:
    """Batch norms of both kinds, of which one has an unusual momentum and one none."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, momentum=0.3), nn.ReLU()),
        *(nn.Dropout(dropout), nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5, momentum=None), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(20), nn.Linear(20, 4)),
    )


def _batches(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 3, 12, 12, generator=generator) * 3 + 2 for n in sizes]


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if "running" in name}


CPU = torch.device("cpu")


def test_calibration_is_update_bn() -> None:
    """Where nothing is random; whatever the statistics were before."""
    batches = _batches(8, 8, 5)
    ours, theirs = _net(), _net()
    ours[1].running_mean.fill_(99)
    ours[1].num_batches_tracked.fill_(7)
    models.calibrate(ours, iter(batches), device=CPU)
    torch.optim.swa_utils.update_bn(batches, theirs)
    for name, value in _statistics(theirs).items():
        torch.testing.assert_close(_statistics(ours)[name], value, msg=name)
    assert not any(module.training for module in ours.modules())
    assert [ours[place].momentum for place in (1, 5, 9)] == [0.3, None, 0.1]
    for mine, original in zip(ours.parameters(), _net().parameters(), strict=True):
        assert torch.equal(mine, original)


def test_calibrated_activations_are_normalised() -> None:
    """On the batch that the statistics are of."""
    model = _net()
    (batch,) = _batches(64)
    models.calibrate(model, [batch], device=CPU)
    for last in (1, 5, 9):
        out = model[: last + 1](batch).transpose(0, 1).flatten(1)
        torch.testing.assert_close(out.mean(1), torch.zeros(len(out)), atol=0.01, rtol=0)
        torch.testing.assert_close(out.std(1), torch.ones(len(out)), atol=0.01, rtol=0)


def test_calibration_is_without_dropout() -> None:
    """So the result is the same every time, even of a network that is being trained."""
    plain, dropping = _net(), _net(0.5).train()
    for model in (plain, dropping):
        models.calibrate(model, _batches(8), device=CPU)
    assert _same(plain, dropping)


# ------------------------------------------------------------------------------ checkpoints


@pytest.fixture
def net() -> nn.Module:
    """A network whose state has several types of numbers, and the same tensor twice."""
    model = _net().eval()
    model.register_buffer("small", torch.ones(2, dtype=torch.float16))
    model.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
    model.register_parameter("twice", model[0].weight)
    return model


@pytest.fixture
def fresh(net: nn.Module) -> nn.Module:
    """The same network with other values."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for value in other.state_dict().values():
            value.add_(1)
    return other


def test_checkpoint_round_trip(tmp_path: Path, net: nn.Module, fresh: nn.Module) -> None:
    """With its provenance, that other programs find under one key."""
    file = tmp_path / "new" / "checkpoint.safetensors"
    models.save_checkpoint(net, file, {"model": "net", "seed": 1})
    assert not _same(fresh, net)
    assert models.load_checkpoint(fresh, file) is fresh
    assert _same(fresh, net)
    with safe_open(file, framework="pt") as stored:
        assert json.loads(stored.metadata()["deadpixel"]) == {"model": "net", "seed": 1}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_of_torch_save(
    tmp_path: Path, net: nn.Module, fresh: nn.Module, zipped: bool
) -> None:
    """Of now and of before PyTorch 1.6."""
    file = tmp_path / "checkpoint.pt"
    torch.save(net.state_dict(), file, _use_new_zipfile_serialization=zipped)
    assert _same(models.load_checkpoint(fresh, str(file)), net)


def test_counters_may_be_missing(net: nn.Module, fresh: nn.Module) -> None:
    """torchvision's older weights are from before batch norm had them."""
    state = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    assert len(state) < len(net.state_dict())
    models.load_state(fresh, state, "resnet18")
    for name, value in state.items():
        assert torch.equal(fresh.state_dict()[name], value)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_checkpoint_is_not_run(tmp_path: Path, net: nn.Module, zipped: bool) -> None:
    file = tmp_path / "checkpoint.pt"
    content = {**net.state_dict(), "code": Hostile(tmp_path / "made")}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=re.escape(str(file))) as error:
        models.load_checkpoint(net, file)
    assert not (tmp_path / "made").exists()
    assert "\n" not in str(error.value)  # torch's own advice is long, and to switch this off


def _half(file: Path, net: nn.Module) -> None:
    if file.suffix == ".pt":
        torch.save(net.state_dict(), file)
    else:
        models.save_checkpoint(net, file, {})
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _folder(file: Path, _net: nn.Module) -> None:
    file.mkdir()


def _missing(_file: Path, _net: nn.Module) -> None:
    pass


def _bytes(content: bytes) -> Callable[[Path, nn.Module], None]:
    return lambda file, _net: file.write_bytes(content) and None


SPOILT = {
    **{"half": _half, "folder": _folder, "missing": _missing},
    **{"empty": _bytes(b""), "text": _bytes(b"hello"), "zeros": _bytes(bytes(1000))},
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_unreadable_checkpoint(tmp_path: Path, net: nn.Module, suffix: str, spoil) -> None:
    """The message names the file, in one line."""
    file = tmp_path / f"checkpoint{suffix}"
    spoil(file, net)
    problem = "cannot be read" if file.is_file() else "is missing"
    with pytest.raises(InputError, match=f"{re.escape(str(file))} {problem}") as error:
        models.load_checkpoint(net, file)
    assert "\n" not in str(error.value)


def _contents(net: nn.Module) -> Iterator[object]:
    state = net.state_dict()
    yield from ([*state.values()], torch.ones(2), net, None)
    yield {"state_dict": state, "epoch": 3}
    yield {**state, "0.weight": 3}


@pytest.mark.parametrize("number", range(6))
def test_no_state_dict(tmp_path: Path, net: nn.Module, number: int) -> None:
    """A list, a tensor, a module, nothing, a training checkpoint, a number for a tensor."""
    file = tmp_path / "checkpoint.pt"
    torch.save([*_contents(net)][number], file)
    with pytest.raises(InputError, match=f"{re.escape(str(file))} .*state dict"):
        models.load_checkpoint(net, file)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop("4.weight"), "4.weight is missing$"),
        (lambda state: state.update(extra=torch.ones(1)), "extra is unexpected$"),
        (
            lambda state: state.update({"10.weight": torch.ones(7, 20)}),
            r"10.weight is \(7, 20\), not \(4, 20\)$",
        ),
        (
            lambda state: [state.update({f"module.{name}": state.pop(name)}) for name in [*state]],
            r"0.weight is missing; 1.bias is missing; .* and \d+ more$",
        ),
        (lambda state: state.clear(), "0.weight is missing; "),
    ],
    ids=["missing", "unexpected", "another head", "prefix", "empty"],
)
def test_checkpoint_of_another_architecture(
    tmp_path: Path, net: nn.Module, change: Callable, problem: str
) -> None:
    """The message names the file and what differs; the network stays as it was."""
    state = net.state_dict()
    before = copy.deepcopy(net)
    change(state)
    torch.save(state, tmp_path / "checkpoint.pt")
    where = re.escape(str(tmp_path / "checkpoint.pt"))
    with pytest.raises(InputError, match=f"{where} belongs to another architecture: {problem}"):
        models.load_checkpoint(net, tmp_path / "checkpoint.pt")
    assert _same(net, before)
