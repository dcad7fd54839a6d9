"""Networks that users bring: what they return, keep, draw and mix."""

import dataclasses
import functools
import random
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn import functional

import plain
from deadpixel import receptive_field
from fuzz import calls
from fuzz.core import Case, Silent

ABOUT = ("network", "model", "target", "output", "'deep'", "logit")
Pair = namedtuple("Pair", ["logits", "aux"])


@dataclasses.dataclass
class Answer:
    logits: Tensor


class Plain(nn.Module):
    """stem, deep and head; `after` sees the logits and the map of deep."""

    def __init__(self, after: Callable = lambda net, y, x: y) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Tanh())
        self.deep = nn.Sequential(nn.Conv2d(4, 5, 3, 2, 1), nn.Tanh())
        self.after = after
        self.head = nn.Linear(5, 4)
        self.count = 0

    def forward(self, image: Tensor) -> Any:
        x = self.deep(self.stem(image))
        return self.after(self, self.head(x.mean((2, 3))), x)


class Reads(nn.Module):
    """A module named deep that returns something odd, and keeps its map."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 5, 3, 2, 1)
        self.change = change

    def forward(self, x: Tensor) -> Any:
        self.kept = torch.tanh(self.convolution(x))
        return self.change(self.kept)


class GoesOn(nn.Module):
    """With the map of such a module, whatever that returns."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        network = Plain()
        self.stem, self.deep, self.head = network.stem, Reads(change), network.head

    def forward(self, image: Tensor) -> Tensor:
        self.deep(self.stem(image))
        return self.head(self.deep.kept.mean((2, 3)))


# Instead of the logits.
OUTPUTS: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "a dictionary": lambda n, y, x: {"logits": y},
    "a dictionary with an auxiliary": lambda n, y, x: {"aux": y[:, :2] * 2, "out": y},
    "None": lambda n, y, x: None,
    "a tuple of one": lambda n, y, x: (y,),
    "the auxiliary last": lambda n, y, x: (y, y.flip(1) * 2),
    "the auxiliary first": lambda n, y, x: (y.flip(1) * 2, y),
    "a shorter auxiliary first": lambda n, y, x: (y[:, :2], y),
    "features first": lambda n, y, x: (x, y),
    "the loss first": lambda n, y, x: (y.sum(), y),
    "a list": lambda n, y, x: [y],
    "an empty tuple": lambda n, y, x: (),
    "a named tuple": lambda n, y, x: Pair(y, y * 2),
    "a dataclass": lambda n, y, x: Answer(y),
    "a string": lambda n, y, x: "cat",
    "a number": lambda n, y, x: 3,
    "an array": lambda n, y, x: y.detach().numpy(),
    "one value": lambda n, y, x: y.sum(),
    "a value per image": lambda n, y, x: y.sum(1),
    "logits of four dimensions": lambda n, y, x: y[:, :, None, None],
    "a map of logits": lambda n, y, x: x,
    "logits per token": lambda n, y, x: torch.stack([y, y], 1),
    "integers": lambda n, y, x: (y * 100).long(),
    "truth values": lambda n, y, x: y > 0,
    "complex numbers": lambda n, y, x: torch.complex(y, y),
    "half precision": lambda n, y, x: y.half(),
    "bfloat16": lambda n, y, x: y.bfloat16(),
    "detached": lambda n, y, x: y.detach(),
    "its data": lambda n, y, x: y.data,
    "no logits": lambda n, y, x: y[:, :0],
    "one logit": lambda n, y, x: y[:, :1],
    "logits of the batch": lambda n, y, x: y.mean(0, keepdim=True),
    "logits twice": lambda n, y, x: torch.cat([y, y]),
    "transposed": lambda n, y, x: y.T,
    "NaN": lambda n, y, x: y * torch.nan,
    "infinite": lambda n, y, x: y / 0,
    "one infinite logit": lambda n, y, x: y + torch.tensor([0, 0, 0, torch.inf]),
    "probabilities": lambda n, y, x: y.softmax(1),
    "log probabilities": lambda n, y, x: y.log_softmax(1),
    "not contiguous": lambda n, y, x: y.T.contiguous().T,
    "constant": lambda n, y, x: y * 0 + 1,
    "sparse": lambda n, y, x: y.to_sparse(),
    "on no device": lambda n, y, x: y.to("meta"),
    "the winner only": lambda n, y, x: y.argmax(1),
    "random": lambda n, y, x: y + torch.randn_like(y),
    "random scale": lambda n, y, x: y * torch.rand(1),
    "dropout in evaluation": lambda n, y, x: functional.dropout(y, 0.5, training=True),
    "the mean of the batch subtracted": lambda n, y, x: y - y.mean(0),
    "over the batch's largest": lambda n, y, x: y / y.abs().max(),
    "softmax over the batch": lambda n, y, x: y.softmax(0),
    "images shifted in the batch": lambda n, y, x: y.roll(1, 0),
    "sorted in the batch": lambda n, y, x: y.sort(0).values,
}
# What the module `deep` returns.
MAPS: dict[str, Callable[[Tensor], Any]] = {
    "a tuple": lambda x: (x, x),
    "a list": lambda x: [x],
    "a dictionary": lambda x: {"x": x},
    "None": lambda x: None,
    "a string": lambda x: "x",
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "a vector": lambda x: x.mean((2, 3)),
    "five dimensions": lambda x: x[:, :, None],
    "no dimension": lambda x: x.sum(),
    "one place": lambda x: x.mean((2, 3), keepdim=True),
    "no channels": lambda x: x[:, :0],
    "no places": lambda x: x[:, :, :0],
    "detached": lambda x: x.detach(),
    "integers": lambda x: (x * 9).long(),
    "truth values": lambda x: x > 0,
    "complex numbers": lambda x: torch.complex(x, x),
    "half precision": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "NaN": lambda x: x * torch.nan,
    "another batch": lambda x: torch.cat([x, x]),
    "the mean of the batch": lambda x: x.mean(0, keepdim=True),
    "less the mean of the batch": lambda x: x - x.mean(0, keepdim=True),
    "channels last in memory": lambda x: x.contiguous(memory_format=torch.channels_last),
    "expanded": lambda x: x[:, :1].expand(-1, 5, -1, -1),
    "dropout in evaluation": lambda x: functional.dropout(x, 0.5, training=True),
    "noise": lambda x: x + torch.randn_like(x),
    "sparse": lambda x: x.to_sparse(),
    "on no device": lambda x: x.to("meta"),
    "constant": lambda x: torch.ones_like(x),
    "in place": lambda x: x.mul_(2),
}


def forward(function: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    """A network of the same parts with another forward pass; `plain` is the usual one."""

    class Odd(Plain):
        def plain(self, image: Tensor) -> Tensor:
            return Plain.forward(self, image)

        def forward(self, image: Tensor) -> Any:
            return function(self, image)

    return Odd


def changed(change: Callable[[Any], object]) -> Callable[[], nn.Module]:
    """A network to which `change` has done something."""

    def build() -> nn.Module:
        network = Plain()
        change(network)
        return network

    return build


def replaced(name: str, module: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return changed(lambda net: net.set_submodule(name, module()))


def counting(net: Any, image: Tensor) -> Tensor:
    net.count += 1
    return net.plain(image) * net.count


def remembering(net: Any, image: Tensor) -> Tensor:
    previous = getattr(net, "previous", None)
    net.previous = image.detach().mean()
    return net.plain(image if previous is None else image * previous)


def averaging(net: Any, image: Tensor) -> Tensor:
    if not hasattr(net, "average"):
        net.average = image.detach().mean((0, 2, 3), keepdim=True) * 0
    net.average = 0.9 * net.average + 0.1 * image.detach().mean((0, 2, 3), keepdim=True)
    return net.plain(image - net.average)


def keeping(net: Any, image: Tensor) -> Tensor:
    net.seen = [*getattr(net, "seen", []), net.plain(image)]
    return net.seen[-1]


def caching(net: Any, image: Tensor) -> Tensor:
    if not hasattr(net, "cached") or net.cached.shape != image.shape:
        net.cached = net.plain(image)
    return net.cached


def twice(net: Any, image: Tensor) -> Tensor:
    x = net.stem(image)
    net.deep(x * 2)
    return net.head(net.deep(x).mean((2, 3)))


def deep_in_half(net: Any, image: Tensor) -> Tensor:
    x = net.deep.bfloat16()(net.stem(image).bfloat16())
    return net.head(x.to(image.dtype).mean((2, 3)))


def checkpointed(*, reentrant: bool) -> Callable[[Any, Tensor], Tensor]:
    def function(net: Any, image: Tensor) -> Tensor:
        x = torch.utils.checkpoint.checkpoint(net.stem, image, use_reentrant=reentrant)
        return net.head(net.deep(x).mean((2, 3)))

    return function


def raising(error: BaseException) -> Callable[[Any, Tensor], Any]:
    def function(net: Any, image: Tensor) -> Any:
        raise error

    return function


def recursing(net: Any, image: Tensor) -> Any:
    return recursing(net, image)


def seeded(net: Any, image: Tensor) -> Tensor:
    torch.manual_seed(0)
    return net.plain(image + torch.randn_like(image))


def attending_to_batch(net: Any, image: Tensor) -> Tensor:
    x = net.deep(net.stem(image))
    flat = x.flatten(1)
    weights = (flat @ flat.T).softmax(1)
    return net.head((weights @ flat).view_as(x).mean((2, 3)))


def standardised_each(net: Any, image: Tensor) -> Tensor:
    mean, deviation = (f((1, 2, 3), keepdim=True) for f in (image.mean, image.std))
    return net.plain((image - mean) / deviation)


def branching_each(net: Any, image: Tensor) -> Tensor:
    sign = torch.where(image.mean((1, 2, 3), keepdim=True) > 0, 1.0, -1.0).to(image.dtype)
    return net.plain(image * sign)


def aux_in_training(net: Any, image: Tensor) -> Any:
    y = net.plain(image)
    return (y, y * 2) if net.training else y


def doubled(gradient: Callable[[Tensor], Tensor | None]) -> Callable[[], nn.Module]:
    """The image twice as bright, with a derivative of its own."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(context: Any, after: Tensor) -> Tensor | None:
            return gradient(after)

    return forward(lambda net, image: net.plain(Double.apply(image)))


class AlwaysTrains(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 4))

    def train(self, mode: bool = True) -> "AlwaysTrains":
        return super().train(True)


class NeverEvaluates(Plain):
    def eval(self) -> "NeverEvaluates":
        raise RuntimeError("this network only trains")


class TwoArguments(Plain):
    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return super().forward(image)


class OptionalArgument(Plain):
    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(image)


class CountsOnly(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        self.steps += 1
        return super().forward(image)


class CountsInABuffer(CountsOnly):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * self.steps


def named_output(net: Plain) -> None:
    net.output = nn.Linear(4, 4)
    net.after = lambda net, y, x: net.output(y)


def scripted() -> nn.Module:
    return torch.jit.script(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )


def traced() -> nn.Module:
    return torch.jit.trace(Plain().eval(), torch.randn(2, 3, 16, 16))


def lazy(net: Plain) -> None:
    net.head = nn.LazyLinear(4)
    net.deep[0] = nn.LazyConv2d(5, 3, 2, 1)


def initialised(net: Plain) -> None:
    lazy(net)
    net.eval()(torch.randn(2, 3, 16, 16))


# Behaviour that may be accepted if the result is the plain loop's.
STEADY: dict[str, Callable[[], nn.Module]] = {
    "plain": Plain,
    "in training mode": changed(lambda n: n.train()),
    "frozen": changed(lambda n: n.requires_grad_(False)),
    "counts, and makes no use of it": CountsOnly,
    "keeps all outputs": forward(keeping),
    "changes the image in place": forward(lambda n, image: n.plain(image.mul_(2))),
    "rounds the image": forward(lambda n, image: n.plain((image * 4).round() / 4)),
    "checkpoints": forward(checkpointed(reentrant=False)),
    "checkpoints, the old way": forward(checkpointed(reentrant=True)),
    "standardises each image": forward(standardised_each),
    "a norm over the batch": replaced("stem.1", lambda: nn.BatchNorm2d(4, momentum=None)),
    "an instance norm": replaced("stem.1", lambda: nn.InstanceNorm2d(4)),
    "an instance norm with statistics": replaced(
        "stem.1", lambda: nn.InstanceNorm2d(4, track_running_stats=True)
    ),
    "a group norm": replaced("stem.1", lambda: nn.GroupNorm(2, 4)),
    "a synchronised norm": replaced("stem.1", lambda: nn.SyncBatchNorm(4)),
    "branches on each image": forward(branching_each),
    "an auxiliary in training only": forward(aux_in_training),
    "takes an optional argument": OptionalArgument,
    "a module named output": changed(named_output),
    "spectral norm": changed(lambda n: nn.utils.parametrizations.spectral_norm(n.head)),
    "weight norm": changed(lambda n: nn.utils.parametrizations.weight_norm(n.deep[0])),
    "weight norm, the old way": changed(lambda n: nn.utils.weight_norm(n.deep[0])),
    "a forward hook": changed(lambda n: n.stem[0].register_forward_hook(lambda m, a, y: y * 3)),
    "a hook before": changed(
        lambda n: n.stem[1].register_forward_pre_hook(lambda m, a: (a[0] * 3,))
    ),
    "a backward hook": changed(
        lambda n: n.stem[0].register_full_backward_hook(lambda m, i, o: (i[0] * 3,))
    ),
    "a hook on a weight": changed(lambda n: n.stem[0].weight.register_hook(lambda g: g * 3)),
    "scripted": scripted,
    "traced": traced,
    "half precision": changed(lambda n: n.half()),
    "bfloat16": changed(lambda n: n.bfloat16()),
    "double precision": changed(lambda n: n.double()),
    "data parallel": lambda: nn.DataParallel(Plain()),
    "lazy, initialised": changed(initialised),
    "a module under two names": changed(lambda n: n.add_module("other", n.deep)),
    "dropout": replaced("deep.1", lambda: nn.Dropout(0.5)),
    "dropout of maps": replaced("deep.1", lambda: nn.Dropout2d(0.5)),
    "alpha dropout": replaced("deep.1", lambda: nn.AlphaDropout(0.5)),
    "a random ReLU": replaced("deep.1", lambda: nn.RReLU()),
    "an in-place ReLU": replaced("deep.1", lambda: nn.ReLU(True)),
    "a bilinear enlargement": replaced("deep.1", lambda: nn.UpsamplingBilinear2d(scale_factor=2)),
}
# Only a class may be accepted, if it is that of the plain network: no gradient is asked for.
UNDIFFERENTIABLE: dict[str, Callable[[], nn.Module]] = {
    "without gradients": forward(lambda n, image: torch.no_grad()(n.plain)(image)),
    "in inference mode": forward(lambda n, image: torch.inference_mode()(n.plain)(image)),
    "autocast inside": forward(
        lambda n, image: torch.autocast("cpu", torch.bfloat16)(n.plain)(image)
    ),
    "deep in bfloat16": forward(deep_in_half),
    "single precision inside": forward(lambda n, image: n.float().plain(image.float())),
    "calls deep twice": forward(twice),
    "a backward of another shape": doubled(lambda gradient: gradient[:, :1]),
    "a backward of nothing": doubled(lambda gradient: None),
    "an infinite backward": doubled(lambda gradient: gradient / 0),
    "holds a lock": changed(lambda n: setattr(n, "lock", threading.Lock())),
    "holds a generator": changed(lambda n: setattr(n, "steps", (n for n in range(3)))),
    "holds a file": changed(lambda n: setattr(n, "file", Path("/dev/null").open())),  # noqa: SIM115
    "a quantized head": lambda: torch.ao.quantization.quantize_dynamic(Plain(), {nn.Linear}),
    "takes batches of three only": forward(lambda n, image: n.plain(image.view(3, 3, 16, 16))),
}
ODD: dict[str, Callable[[], nn.Module]] = {
    "counts": forward(counting),
    "counts in a buffer": CountsInABuffer,
    "remembers the last batch": forward(remembering),
    "keeps a running mean": forward(averaging),
    "caches its first answer": forward(caching),
    "raises ValueError": forward(raising(ValueError("images must be of 32 px"))),
    "raises KeyError": forward(raising(KeyError("x"))),
    "raises RuntimeError": forward(raising(RuntimeError("shape '[3]' is invalid\nmore"))),
    "raises NotImplementedError": forward(raising(NotImplementedError())),
    "asserts": forward(raising(AssertionError())),
    "exits": forward(lambda n, image: sys.exit(3)),
    "recurses": forward(recursing),
    "seeds itself and draws": forward(seeded),
    "depends on the time": forward(lambda n, image: n.plain(image * (1 + time.monotonic() % 1))),
    "NumPy's noise": forward(lambda n, image: n.plain(image + float(np.random.rand()))),  # noqa: NPY002
    "Python's noise": forward(lambda n, image: n.plain(image * random.random())),
    "attends to the batch": forward(attending_to_batch),
    "standardises the batch": forward(
        lambda n, image: n.plain((image - image.mean()) / image.std())
    ),
    "a batch norm without statistics": replaced(
        "stem.1", lambda: nn.BatchNorm2d(4, track_running_stats=False)
    ),
    "takes 224 px only": forward(lambda n, image: n.plain(image.view(-1, 3, 224, 224))),
    "branches on the batch": forward(
        lambda n, image: n.plain(image) if image.mean() > 0 else n.plain(-image)
    ),
    "takes one channel": replaced("stem.0", lambda: nn.Conv2d(1, 4, 3, 2, 1)),
    "a kernel larger than the image": replaced("stem.0", lambda: nn.Conv2d(3, 4, 40)),
    "always trains": AlwaysTrains,
    "never evaluates": NeverEvaluates,
    "takes two arguments": TwoArguments,
    "on no device": changed(lambda n: n.to("meta")),
    "lazy": changed(lazy),
    "a negative variance": changed(lambda n: n.stem[1].running_var.fill_(-1)),
    "NaN in a weight": changed(lambda n: n.deep[0].weight.data[0, 0, 0, 0].fill_(torch.nan)),
    "no forward": lambda: nn.ModuleList([nn.Conv2d(3, 4, 3)]),
}
# Outputs whose classes may be accepted. A cast's gradient is exact, and a named tuple says which
# part is meant.
CLASSES = {
    *("one logit", "probabilities", "log probabilities", "not contiguous", "constant"),
    *("half precision", "bfloat16", "a named tuple", "detached", "its data"),
}
# Of other networks: deep and output.
TARGETS = {
    "scripted": ("output",),
    "no forward": ("0", "output"),
    "data parallel": ("module.deep", "output"),
}


def networks(rng: random.Random, _: Path) -> Iterator[Case]:
    batch = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def built(build: Callable[[], nn.Module]) -> nn.Module:
        torch.manual_seed(3)
        return build()

    def field(name: str, build: Callable[[], nn.Module], target: str) -> Case:
        def run(_: Path) -> None:
            network = built(build)
            found = calls.field(network, batch.clone(), target, batch_size=3, dtype=torch.float64)
            try:
                expected = plain.field(built(build), batch, target)
            except Exception as error:
                raise Silent("accepted") from error
            most = max(expected.max(), 1e-30)
            if not np.allclose(found, expected, rtol=1e-6, atol=1e-9 * most):
                raise Silent(f"off by {np.abs(found - expected).max() / most:.1%}")

        return Case(f"field of {target}: {name}", run, ABOUT)

    def classes(name: str, build: Callable[[], nn.Module], acceptable: bool) -> Case:
        def run(_: Path) -> None:
            found = calls.predicted(built(build), batch.clone())
            with torch.no_grad():
                output = built(build).eval()(batch)
            expected = getattr(output, "logits", output).argmax(1).tolist()
            if not acceptable:
                raise Silent(f"accepted: {found}")
            if found != expected:
                raise Silent(f"{found}, not {expected}")

        return Case(f"classes: {name}", run, ABOUT)

    def size(name: str, build: Callable[[], nn.Module]) -> Case:
        def run(_: Path) -> None:
            receptive_field.theoretical(built(build), "deep", (16, 16))

        return Case(f"size of deep: {name}", run, ABOUT)

    for name, after in OUTPUTS.items():
        build = functools.partial(Plain, after)
        yield field(f"returns {name}", build, "output")
        yield field(f"returns {name}", build, "deep")
        yield classes(f"returns {name}", build, name in CLASSES)
    for name, change in MAPS.items():
        build = functools.partial(GoesOn, change)
        yield field(f"deep returns {name}", build, "deep")
        yield field(f"deep returns {name}", build, "output")
        yield size(f"deep returns {name}", build)
    for name, build in {**STEADY, **UNDIFFERENTIABLE, **ODD}.items():
        for target in TARGETS.get(name, ("deep", "output")):
            yield field(name, build, target)
        yield classes(name, build, name not in ODD)
