"""Networks from their names or the user's file, their calibration, and their checkpoints."""

import copy
import csv
import json
import math
import os
import random
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from deadpixel.data.draws import Purpose, initialising
from deadpixel.data.evaluation import evaluation_transform
from deadpixel.errors import InputError
from deadpixel.networks import calibration, checkpoints, forward, heads, zoo

ROOT = Path(__file__).resolve().parents[2]

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
        model = zoo.build(name)
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
        "constant = 3\n"
    )
    return f"{tmp_path}/net.py"


def test_own_network(own: str) -> None:
    """Of a factory or a class, drawn by the seed as the others are."""
    model = zoo.build(f"{own}:make", seed=1)
    assert not model.training
    assert model(torch.zeros(1, 3, 5, 5)).shape == (1, 4, 3, 3)
    assert _same(model, zoo.build(f"{own}:make", seed=1))
    assert not _same(model, zoo.build(f"{own}:make", seed=2))
    assert len(zoo.build(f"{own}:Net")) == 0


def test_own_file_by_a_relative_path(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(own).parent)
    assert _same(zoo.build("net.py:make"), zoo.build(f"{own}:make"))


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_seed(name: str, recwarn: pytest.WarningsRecorder) -> None:
    """The same seed draws the same weights, wherever the global generator stands."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = zoo.build(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert _same(model, zoo.build(name, seed=3))
    assert not _same(model, zoo.build(name, seed=4))
    assert not list(recwarn)


@pytest.mark.slow
def test_networks_of_libraries_by_name() -> None:
    """Of timm an architecture, or one with the name of its weights, which are not looked for."""
    named = zoo.build("timm:vit_tiny_patch16_224.augreg_in21k", seed=3)
    assert _same(named, zoo.build("timm:vit_tiny_patch16_224", seed=3)) is False  # other heads
    assert named.head.out_features == 21843 and not named.training
    assert _same(zoo.build("torchvision:resnet18", seed=3), zoo.build("resnet18", seed=3))
    assert _same(zoo.build("timm:resnet18", seed=3), zoo.build("timm:resnet18.a1_in1k", seed=3))


def test_what_needs_timm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm:resnet18 needs timm: .*deadpixel\[timm\]"):
        zoo.build("timm:resnet18")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("resnet_18", "unknown model 'resnet_18': did you mean resnet18 or .*file.py:factory"),
        ("qqqqqq", "unknown model 'qqqqqq': name one of torchvision's classifiers"),
        ("timm:resnet_18", "unknown model 'resnet_18': did you mean .*resnet18.*list_pretrained"),
        ("timm:resnet18.none", r"unknown model 'resnet18.none': did you mean .*resnet18\."),
        ("torchvision:qqqqqq", "unknown model 'qqqqqq': name one of torchvision's"),
        ("fasterrcnn_resnet50_fpn", "unknown model"),
        ("{folder}/net.py", "unknown model .*file.py:factory"),
        ("{folder}/nets.py:make", "{folder}/nets.py is missing.*did you mean net.py"),
        ("{folder}:make", "{folder} is missing"),
        ("{folder}/net.txt:make", "{folder}/net.txt is .*no .py file"),
        ("{folder}/net.py:absent", "{folder}/net.py defines no function 'absent'"),
        ("{folder}/net.py:constant", "{folder}/net.py defines no function 'constant'"),
        ("{folder}/net.py:", "{folder}/net.py defines no function ''"),
        ("{folder}/net.py:number", r"number\(\) returned a int, no nn.Module"),
    ],
)
def test_unknown_networks(own: str, source: str, problem: str) -> None:
    """The message says what there is instead, or what is missing."""
    folder = str(Path(own).parent)
    (Path(folder) / "net.txt").write_text("constant = 3")
    with pytest.raises(InputError, match=problem.replace("{folder}", re.escape(folder))) as error:
        zoo.build(source.replace("{folder}", folder))
    assert len(str(error.value)) < 300 + 2 * len(folder)


FAULTY = {
    "syntax": ("def make(:", r"net.py, line 1 is no Python \(.*\): fix it"),
    "null bytes": ("\0", "net.py.*(null|no Python)"),
    "raises": ("import torch\n\ndef make():\n    return 1 / 0", "ZeroDivision.*net.py, line 4"),
    "raises in torch": (
        "from torch import nn\ndef make():\n    return nn.Conv2d(3, 4, 3, groups=2)",
        r"must be divisible by groups, in .*net.py, line 3\)",
    ),
    "exits": ("import sys\nsys.exit(3)", "SystemExit: 3, in .*net.py, line 2"),
    "missing package": (
        "import no_such.package",
        f"imports 'no_such', which is not installed: .* environment of {re.escape(sys.executable)}",
    ),
    "neighbour": ("import beside", "imports 'beside', which lies beside its file"),
    "arguments": (
        "def make(width, *, depth, n=3): ...",
        r"make\(\) needs arguments \(width, depth\)",
    ),
    "class": (
        "from torch import nn\nclass Net(nn.Module): ...\ndef make():\n    return Net",
        "returned the class Net; return an instance",
    ),
    "nothing": ("def make(): pass", "returned a NoneType, no nn.Module; return the network"),
    "script": (
        "import torch\ndef make(): return torch.jit.script(torch.nn.ReLU())",
        "returned a compiled network",
    ),
    "lazy": (
        "from torch import nn\ndef make(): return nn.Sequential(nn.LazyConv2d(3, 3))",
        "a network whose 0.weight has no shape yet; run it once",
    ),
    "meta": (
        "from torch import nn\ndef make(): return nn.Conv2d(3, 3, 3, device='meta')",
        "a network whose weight has no values; build it on the CPU",
    ),
    "not to be copied": (
        "import torch\nfrom torch import nn\ndef make():\n    net = nn.Conv2d(3, 3, 3)\n"
        "    net.numbers = iter(lambda: 0, 1)\n    net.names = (n for n in 'abc')\n    return net",
        "the network cannot be copied .TypeError: cannot pickle 'generator' object",
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", FAULTY)
def test_faulty_files_are_one_line(tmp_path: Path, name: str) -> None:
    """It names the file, and the line in it where there is one."""
    code, problem = FAULTY[name]
    (tmp_path / "net.py").write_text(code)
    (tmp_path / "beside.py").touch()
    with pytest.raises(InputError, match=problem) as error:
        zoo.build(f"{tmp_path}/net.py:make")
    assert f"model '{tmp_path}/net.py:make'" in str(error.value)
    assert "\n" not in str(error.value)


def test_own_network_sets_nothing_for_others(tmp_path: Path) -> None:
    """Draws of all three generators follow the seed, float32 is what counts, nothing stays set."""
    (tmp_path / "net.py").write_text(
        "import random, numpy, torch\n"
        "def make():\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    torch.set_num_threads(3)\n"
        "    torch.set_grad_enabled(False)\n"
        "    torch.use_deterministic_algorithms(True)\n"
        "    net = torch.nn.Conv2d(3, 3, 3)\n"
        "    net.drawn = torch.nn.Parameter(torch.tensor([random.random(), numpy.random.rand()]))\n"
        "    random.seed(0), numpy.random.seed(0)\n"
        "    return net\n"
    )
    source = f"{tmp_path}/net.py:make"
    numpy = np.random.mtrand._rand  # what numpy.random's own functions draw from
    random.seed(4), numpy.seed(4)
    expected = random.random(), numpy.rand()
    random.seed(4), numpy.seed(4)
    threads = torch.get_num_threads()
    model = zoo.build(source, seed=1)
    assert (random.random(), numpy.rand()) == expected
    assert torch.get_default_dtype() == torch.float32 == model.weight.dtype
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled() and not torch.are_deterministic_algorithms_enabled()
    assert _same(model, zoo.build(source, seed=1))
    other = zoo.build(source, seed=2)
    assert not (model.drawn == other.drawn).any()


def test_networks_in_half_precision_are_taken_in_single(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is said: an image in single precision does not go into half a network."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make(): return nn.Conv2d(3, 4, 3).half()"
    )
    model = zoo.build(f"{tmp_path}/net.py:make")
    assert model(torch.zeros(1, 3, 5, 5)).dtype == torch.float32
    assert "net.py:make' has weights of torch.float16" in caplog.text


# -------------------------------------------------------------------------- published weights


@pytest.mark.parametrize("name", ACCURACY)
def test_published_accuracy(name: str) -> None:
    assert zoo.imagenet_accuracy(name) == ACCURACY[name]


@pytest.mark.parametrize("name", ["net.py:make", "vit_h_14", "no_such_network"])
def test_no_published_weights(name: str) -> None:
    """Of the user's own network, of one trained otherwise, and of none at all."""
    assert zoo.imagenet_accuracy(name) is None


# ------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
    ],
)
def test_a_new_head_has_the_classes_and_is_the_same_for_the_same_seed(name: str, head: str) -> None:
    model = zoo.build(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert heads.replace(model, 7, seed=3, input_size=(64, 64)) is model
    assert torch.equal(torch.random.get_rng_state(), state)
    changed = {k for k, v in model.state_dict().items() if v.shape != before[k].shape}
    assert changed == {f"{head}.weight", f"{head}.bias"}
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    again, other = (heads.replace(zoo.build(name), 7, seed=s, input_size=(64, 64)) for s in (3, 4))
    weights = [m.get_submodule(head).weight for m in (model, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    alone = model.get_submodule(head)
    with initialising(3, Purpose.HEAD):  # a stream of its own, which draws nothing else
        alone.reset_parameters()
    assert torch.equal(alone.weight, weights[1])


def test_a_network_without_a_head() -> None:
    with pytest.raises(InputError, match="calls no linear layer"):
        heads.replace(nn.Sequential(nn.ReLU()), 7, seed=0)


class Headed(nn.Module):
    """A head that is an ordinary one's subclass, among layers that are not the head."""

    class Head(nn.Linear):
        """As timm has its own."""

    def __init__(self, end: Callable = lambda x: x) -> None:
        super().__init__()
        self.fc = self.Head(4, 10)
        self.stem = nn.Conv2d(3, 4, 3)
        self.attention = nn.MultiheadAttention(4, 2)
        self.drop = nn.Dropout()
        self.auxiliary = nn.Linear(4, 10)
        self.unused = nn.Linear(4, 10)
        self.end = end

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image).flatten(2).permute(2, 0, 1)
        features = self.drop(self.attention(features, features, features)[0].mean(0))
        logits = self.fc(features)
        if self.training:
            self.auxiliary(features)
        return self.end(logits)


def test_the_head_is_the_layer_that_is_called_last() -> None:
    """Not one registered after it, nor one of another purpose; modes and draws are left alone."""
    model = Headed().train()
    model.drop.eval()
    before = copy.deepcopy(model.state_dict())
    heads.replace(model, 7, seed=3, input_size=(16, 16))
    assert model.training and not model.drop.training
    after = model.state_dict()
    changed = {k for k, v in after.items() if v.shape != before[k].shape}
    assert changed == {"fc.weight", "fc.bias"}
    assert all(torch.equal(after[k], before[k]) for k in after.keys() - changed)
    assert model.fc.out_features == 7
    assert not any(module._forward_hooks for module in model.modules())


NO_HEADS = {
    "made for 7 classes, there are 8 logits": lambda x: nn.functional.pad(x, (0, 1)),
    r"made for 7 classes, the network fails .*RuntimeError.*must match": lambda x: (
        x + torch.ones(10)
    ),
    "puts out a dict of out, no tensor": lambda x: {"out": x},
    "puts out a tuple of 2, no tensor": lambda x: (x, x),
    "puts out a NoneType, no tensor": lambda _x: None,
    "made for 7 classes, the network fails .*SystemExit: 3": lambda x: (
        sys.exit(3) if x.shape[1] == 7 else x
    ),
    r"puts out a tensor of shape \(1, 1, 7\)": lambda x: x[None],
}


@pytest.mark.parametrize("problem", NO_HEADS)
def test_a_head_that_is_none_is_refused(problem: str) -> None:
    """One forward pass tells: the network has to put out as many logits as there are classes."""
    with pytest.raises(InputError, match=f"^fc, the last layer .* {problem}"):
        heads.replace(Headed(NO_HEADS[problem]), 7, seed=0, input_size=(16, 16))


def test_a_head_that_computes_its_weights_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(12, 4)))
    with pytest.raises(InputError, match="the head 1 computes its weights"):
        heads.replace(model, 7, seed=0, input_size=(2, 2))


def test_the_networks_own_size_is_needed_for_a_head() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 3, 32, 32\) .*choose a size that it takes"):
        heads.replace(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), 7, seed=0, input_size=(32, 32))


def test_logits_of_a_network_in_training() -> None:
    """Where the network itself names them; of no other tuple, which may have others first."""
    main, auxiliary = torch.zeros(2, 5), torch.ones(2, 5)
    assert forward.logits(torchvision.models.GoogLeNetOutputs(main, auxiliary, auxiliary)) is main
    assert forward.logits(torchvision.models.InceptionOutputs(main, auxiliary)) is main
    assert forward.logits(main) is main
    assert forward.logits({"loss": auxiliary, "logits": main}) is main
    for other in ((auxiliary, main), {"out": main}, [main], None, torch.zeros(2, 5, 1)):
        with pytest.raises(InputError, match="the network puts out"):
            forward.logits(other)


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
    calibration.calibrate(ours, iter(batches), device=CPU)
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
    calibration.calibrate(model, [batch], device=CPU)
    for last in (1, 5, 9):
        out = model[: last + 1](batch).transpose(0, 1).flatten(1)
        torch.testing.assert_close(out.mean(1), torch.zeros(len(out)), atol=0.01, rtol=0)
        torch.testing.assert_close(out.std(1), torch.ones(len(out)), atol=0.01, rtol=0)


def test_calibration_is_without_dropout() -> None:
    """So the result is the same every time, even of a network that is being trained."""
    plain, dropping = _net(), _net(0.5).train()
    for model in (plain, dropping):
        calibration.calibrate(model, _batches(8), device=CPU)
    assert _same(plain, dropping)


class Frozen(nn.BatchNorm2d):
    """A batch norm that stays as it is, whatever mode it is put in."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(mode=False)


def test_what_is_not_calibrated_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Frozen norms, those never called, instance norms; one without statistics has none."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4)),
        *(Frozen(4), torchvision.ops.FrozenBatchNorm2d(4)),
        nn.InstanceNorm2d(4, track_running_stats=True),
    )
    model[0].unused = nn.BatchNorm2d(4)
    calibration.calibrate(model, _batches(8), device=CPU)
    assert model[2].running_mean.any()
    assert "not calibrated, as they are frozen or not called: 0.unused, 3, 4, 5" in caplog.text


def test_nothing_to_calibrate_is_named(caplog: pytest.LogCaptureFixture) -> None:
    calibration.calibrate(nn.Sequential(nn.Conv2d(3, 4, 3)), _batches(8), device=CPU)
    assert "no batch norm has statistics to calibrate" in caplog.text


@pytest.mark.parametrize(
    ("batches", "problem"),
    [
        ([], "there are no images to calibrate"),
        (_batches(4, 1), r"shape \(1, 3, 12, 12\) .*more than 1 value.* no last batch of one"),
        ([torch.zeros(2, 3, 1, 1)], r"shape \(2, 3, 1, 1\) .*Kernel size"),
        (
            [torch.full((2, 3, 12, 12), math.nan)],
            "batch norm 1 gets values that are infinite or NaN",
        ),
        ([torch.rand(2, 3, 12, 12) * 1e30], "batch norm 1 gets values that are infinite or NaN"),
    ],
)
def test_failed_calibration_is_one_line(batches: list[Tensor], problem: str) -> None:
    model = _net()
    with pytest.raises(InputError, match=problem) as error:
        calibration.calibrate(model, batches, device=CPU)
    assert "\n" not in str(error.value)
    assert [model[place].momentum for place in (1, 5, 9)] == [0.3, None, 0.1]
    assert not any(module.training for module in model.modules())


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
    checkpoints.save(net, file, {"model": "net", "seed": 1})
    assert not _same(fresh, net)
    assert checkpoints.load(fresh, file) is fresh
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
    assert _same(checkpoints.load(fresh, str(file)), net)


def test_counters_may_be_missing(net: nn.Module, fresh: nn.Module) -> None:
    """torchvision's older weights are from before batch norm had them."""
    state = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    assert len(state) < len(net.state_dict())
    checkpoints.load_state(fresh, state, "resnet18")
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
        checkpoints.load(net, file)
    assert not (tmp_path / "made").exists()
    assert "\n" not in str(error.value)  # torch's own advice is long, and to switch this off


def _half(file: Path, net: nn.Module) -> None:
    if file.suffix == ".pt":
        torch.save(net.state_dict(), file)
    else:
        checkpoints.save(net, file, {})
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


PROBLEMS = {_folder: "is a folder", _missing: "is missing", SPOILT["empty"]: "is empty"}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_unreadable_checkpoint(tmp_path: Path, net: nn.Module, suffix: str, spoil) -> None:
    """The message names the file, in one line."""
    file = tmp_path / f"checkpoint{suffix}"
    spoil(file, net)
    problem = PROBLEMS.get(spoil, "cannot be read")
    with pytest.raises(InputError, match=f"{re.escape(str(file))} {problem}") as error:
        checkpoints.load(net, file)
    assert "\n" not in str(error.value)


CONTENTS = {
    "list": (lambda state: [*state.values()], "holds a list, no state dict: save model.state"),
    "tensor": (lambda _state: torch.ones(2), "holds a Tensor, no state"),
    "nothing": (lambda _state: None, "holds a NoneType, no state"),
    "whole network": (lambda _state: _net(), "cannot be read as a state dict"),
    "training": (
        lambda state: {"epoch": 3, "model": state},
        "keeps its state dict under 'model', one of 'epoch', 'model': save that part alone",
    ),
    "number": (lambda state: {**state, "x": 3}, "x is a int: save model.state_dict"),
    "numbered": (lambda state: {**state, 3: state["0.weight"]}, "3 is no name"),
    "sparse": (
        lambda state: {**state, "10.bias": torch.ones(4).to_sparse()},
        "10.bias is quantised or sparse",
    ),
    "meta": (
        lambda state: {**state, "10.bias": torch.ones(4, device="meta")},
        "10.bias has no values",
    ),
    "wrapped": (
        lambda state: {f"module.{name}": value for name, value in state.items()},
        r"has 'module.' in front .* save {name.removeprefix\('module.'\): tensor",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_no_state_dict(tmp_path: Path, name: str) -> None:
    """The message names the file and says what to save instead, in one line."""
    file, model = tmp_path / "checkpoint.pt", _net()
    make, problem = CONTENTS[name]
    torch.save(make(model.state_dict()), file)
    with pytest.raises(InputError, match=problem) as error:
        checkpoints.load(model, file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def _put(name: str, value: object) -> Callable[[dict[str, Tensor]], None]:
    def change(state: dict[str, Tensor]) -> None:
        state[name] = value(state[name]) if callable(value) else value

    return change


def _one(value: float) -> Callable[[Tensor], Tensor]:
    """The tensor with its last value changed."""

    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    return change


DAMAGED = {
    "NaN": (_put("4.weight", _one(math.nan)), "4.weight has values that are NaN"),
    "infinite": (_put("5.running_mean", _one(-math.inf)), "5.running_mean .* that are infinite"),
    "too large": (
        _put("10.bias", lambda t: _one(1e300)(t.double())),
        "10.bias has values that are infinite",
    ),
    "negative": (_put("9.running_var", _one(-1e-9)), "9.running_var has negative variances"),
    "zero": (_put("4.weight", torch.zeros_like), "all of 4.weight is zero"),
    "no variance": (_put("5.running_var", torch.zeros_like), "all of 5.running_var is zero"),
    "int8": (_put("10.weight", lambda t: t.char()), "10.weight is int8, in the network float32"),
    "int64": (_put("0.weight", lambda t: t.long()), "0.weight is int64, in the network float32"),
    "bool": (_put("10.bias", lambda t: t > 0), "10.bias is bool"),
    "complex": (_put("10.weight", lambda t: t + 0j), "10.weight is complex64"),
    "float8": (_put("10.weight", lambda t: t.to(torch.float8_e5m2)), "10.weight is float8_e5m2"),
    "counter": (_put("1.num_batches_tracked", lambda t: t + 0.5), "tracked is float32, .* int64"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_weights_of_no_network_are_refused(name: str) -> None:
    """The message names the file and the tensor; the network stays as it was."""
    model = _net()
    change, problem = DAMAGED[name]
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(InputError, match=f"^checkpoint a/file: .*{problem}"):
        checkpoints.load_state(model, state, "a/file")
    assert _same(model, _net())


def test_what_a_network_starts_with_is_no_damage(caplog: pytest.LogCaptureFixture) -> None:
    """Zero weights, a mask of infinities, biases and means that nothing has moved yet."""
    model = _net()
    nn.init.zeros_(model[10].weight)
    model.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        model[4].weight.mul_(2)
    checkpoints.load_state(fresh, model.state_dict(), "file")
    assert _same(fresh, model)
    assert not caplog.records


def test_what_may_be_meant_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Zeros of a part, scales of zero, other precisions: taken, and one line of the log each."""
    state = _net().state_dict()
    state["0.weight"] = state["0.weight"].half()
    state["10.bias"] = state["10.bias"].double()
    state["10.weight"] = torch.cat([state["10.weight"][:1], torch.zeros(3, 20)])
    state["1.weight"] = torch.zeros(6)
    model = checkpoints.load_state(_net(), state, "file")
    assert torch.equal(model[0].weight, state["0.weight"].float())
    assert torch.equal(model[10].weight, state["10.weight"])
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "checkpoint file is converted from float16 to float32, float64 to float32"
    part = "at the end of 10.weight (the last 60 of 80 values)"
    assert f"zeros all over 1.weight, {part}: if not meant" in second


def test_a_channel_that_training_left_dead_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    state = _net().state_dict()
    state["10.weight"][-1] = 0
    state["1.running_var"][-1] = 0
    checkpoints.load_state(_net(), state, "file")
    assert not caplog.records
    state["1.running_var"][-2:] = 0
    checkpoints.load_state(_net(), state, "file")
    assert "at the end of 1.running_var (the last 2 of 6 values)" in caplog.text


def test_one_tensor_of_two_names(net: nn.Module, fresh: nn.Module) -> None:
    """One of them is enough, as safetensors saves it; two that differ are damage."""
    state = dict(net.state_dict())
    state["0.weight"] = state["0.weight"] + 1
    with pytest.raises(InputError, match=r"twice and 0\.weight are one tensor in the network"):
        checkpoints.load_state(fresh, state, "file")
    del state["twice"]
    checkpoints.load_state(fresh, state, "file")
    assert torch.equal(fresh.twice, state["0.weight"])


def test_a_network_with_a_version_of_its_own() -> None:
    """MNASNet refuses a state that does not say of which version it is, as none of safetensors'."""
    model, other = (zoo.build("mnasnet0_5", seed=seed) for seed in (1, 2))
    checkpoints.load_state(other, dict(model.state_dict()), "file")
    assert _same(other, model)


def test_a_network_that_refuses_its_state() -> None:
    model = _net()
    model.register_load_state_dict_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(InputError, match=r"^checkpoint file cannot be loaded \(ZeroDivisionError"):
        checkpoints.load_state(model, _net().state_dict(), "file")


@pytest.mark.parametrize("zipped", [True, False])
def test_the_name_of_a_file_does_not_say_its_format(tmp_path: Path, zipped: bool) -> None:
    model = _net()
    checkpoints.save(model, tmp_path / "checkpoint.pth", {})
    file = tmp_path / "other.safetensors"
    torch.save(model.state_dict(), file, _use_new_zipfile_serialization=zipped)
    for path in (tmp_path / "checkpoint.pth", file):
        fresh = _net()
        nn.init.ones_(fresh[0].weight)
        assert _same(checkpoints.load(fresh, path), model)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_flipped_bit_is_seen(tmp_path: Path, suffix: str) -> None:
    """PyTorch keeps a checksum and does not look at it; safetensors has none but ours."""
    file, model = tmp_path / f"checkpoint{suffix}", _net()
    if suffix == ".pt":
        torch.save(model.state_dict(), file)
    else:
        checkpoints.save(model, file, {})
    content = bytearray(file.read_bytes())
    place = content.index(model[4].weight.detach().numpy().tobytes())
    content[place + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"checkpoint{suffix} is damaged: .*checksum"):
        checkpoints.load(model, file)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop("4.weight"), "4.weight is missing: name"),
        (lambda state: state.update(extra=torch.ones(1)), "extra is unexpected: name"),
        (
            lambda state: state.update({"10.weight": torch.ones(7, 20)}),
            r"10.weight is \(7, 20\), not \(4, 20\): name",
        ),
        (lambda state: state.clear(), "0.weight is missing; "),
    ],
    ids=["missing", "unexpected", "another head", "empty"],
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
        checkpoints.load(net, tmp_path / "checkpoint.pt")
    assert _same(net, before)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_colours_of_tensorflows_weights_are_changed_as_torchvision_does(
    name: str, tmp_path: Path
) -> None:
    """Whether they are follows the weights, also of copies that were saved again."""
    plain = zoo.build(name)
    empty = copy.deepcopy(plain)
    for weight in empty.parameters():
        nn.init.zeros_(weight)
    for weight in plain.parameters():
        if weight.ndim == 4:  # or nothing of the image would reach the logits
            nn.init.kaiming_normal_(weight)
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    torchvisions = copy.deepcopy(plain)
    torchvisions.transform_input = True
    wanted, unchanged = torchvisions(images), plain(images)
    assert not torch.equal(wanted, unchanged)
    saved = zoo.with_published_weights(plain)
    for path in (tmp_path / "published.safetensors", tmp_path / "again.safetensors"):
        checkpoints.save(saved, path, {})
        loaded = checkpoints.load(copy.deepcopy(empty), path)
        assert torch.equal(loaded(images), wanted)
        saved = loaded
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    own = checkpoints.load(empty, tmp_path / "plain.pt")
    assert torch.equal(own(images), unchanged)


def test_other_networks_take_their_input_as_it_is() -> None:
    model = zoo.build("resnet18")
    assert not hasattr(zoo.with_published_weights(model), "transform_input")


@pytest.mark.parametrize(
    "name", ["resnet18.a1_in1k", "convnext_tiny.fb_in1k", "vit_tiny_patch16_224.augreg_in21k"]
)
def test_the_transform_of_timms_weights_is_timms(name: str) -> None:
    """Its own chain, built from its data configuration, on an image of noise."""
    model = zoo.build(f"timm:{name}")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 443, 3), dtype=np.uint8)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    ours = evaluation_transform(**zoo.evaluation_by_timm(model))
    torch.testing.assert_close(ours(pixels), theirs(Image.fromarray(pixels)), rtol=0, atol=1e-6)


def test_the_list_of_timms_networks_is_that_of_the_installed_timm() -> None:
    """`make timm` writes it again."""
    listed = csv.DictReader((ROOT / "data/timm.csv").read_text().splitlines())
    assert [*listed] == [*runpy.run_path(str(ROOT / "data/list_timm.py"))["rows"]()]


def test_the_list_of_timms_architectures_is_that_of_the_installed_timm() -> None:
    """All names, and what a few of them are."""
    listed = [*csv.DictReader((ROOT / "data/timm_architectures.csv").read_text().splitlines())]
    theirs = runpy.run_path(str(ROOT / "data/list_timm_architectures.py"))
    assert sorted(row["architecture"] for row in listed) == theirs["architectures"]()
    assert listed == sorted(listed, key=lambda row: (row["family"], int(row["parameters"])))
    few = [row for row in listed if row["architecture"] in ("resnet18", "vit_tiny_patch16_224")]
    assert few == [theirs["row"](row["architecture"]) for row in few]
    assert [(row["family"], row["side"]) for row in few] == [
        ("resnet", ""),
        ("vision_transformer", "224"),
    ]


def test_what_timm_crops_otherwise_is_named() -> None:
    model = zoo.build("timm:resnet18.a1_in1k")
    for mode, resize in {"squash": [235, 235], "border": 235, "center": 235}.items():
        model.pretrained_cfg = {**model.pretrained_cfg, "crop_mode": mode}
        said = zoo.evaluation_by_timm(model)
        assert said["resize"] == resize
        assert said.get("crop_mode") == ("border" if mode == "border" else None)
    assert zoo.evaluation_by_timm(zoo.build("resnet18")) == {}


@pytest.mark.parametrize(
    ("source", "on_meta"),
    [("resnet18", True), ("timm:resnet18", True), ("timm:vit_tiny_r_s16_p8_224", False)],
)
def test_a_structure_has_no_weights_unless_the_network_needs_them_to_be_built(
    source: str, on_meta: bool
) -> None:
    """The last one calls its backbone to learn the shape of its map."""
    structure = zoo.structure(source)
    assert {weight.is_meta for weight in structure.parameters()} == {on_meta}
    assert not any(kept.is_meta for kept in structure.buffers())
