"""Networks that users bring: what they return, keep, draw and mix."""

import copy
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

from deadpixel import receptive_field
from fuzz import calls
from fuzz.core import Case, Silent

ABOUT = ("network", "model", "target", "output", "'deep'", "logit")
Pair = namedtuple("Pair", ["logits", "aux"])


@dataclasses.dataclass
class Answer:
    logits: Tensor


class Plain(nn.Module):
    """stem, deep and head; `between` sees the map of deep, `after` the logits and that map."""

    def __init__(
        self, between: Callable = lambda net, x: x, after: Callable = lambda net, y, x: y
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Tanh())
        self.deep = nn.Sequential(nn.Conv2d(4, 5, 3, 2, 1), nn.Tanh())
        self.between, self.after = between, after
        self.head = nn.Linear(5, 4)
        self.count = 0

    def forward(self, image: Tensor) -> Any:
        x = self.between(self, self.deep(self.stem(image)))
        return self.after(self, self.head(x.mean((2, 3))), x)


class Reads(nn.Module):
    """A module named deep that returns something odd; the network goes on with its map."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 5, 3, 2, 1)
        self.change = change

    def forward(self, x: Tensor) -> Any:
        self.kept = torch.tanh(self.convolution(x))
        return self.change(self.kept)


def with_deep(change: Callable[[Tensor], Any]) -> nn.Module:
    network = Plain()
    network.deep = Reads(change)

    def forward(image: Tensor) -> Tensor:
        network.deep(network.stem(image))
        return network.head(network.deep.kept.mean((2, 3)))

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.deep, self.head = network.stem, network.deep, network.head

        def forward(self, image: Tensor) -> Tensor:
            self.deep(self.stem(image))
            return self.head(self.deep.kept.mean((2, 3)))

    del forward
    return Odd()


# After the logits: whether `output` may be accepted, if it is the plain loop's.
OUTPUTS: dict[str, tuple[Callable[[nn.Module, Tensor, Tensor], Any], bool]] = {
    "a dictionary": (lambda n, y, x: {"logits": y}, False),
    "a dictionary with an auxiliary": (lambda n, y, x: {"aux": y[:, :2] * 2, "out": y}, False),
    "None": (lambda n, y, x: None, False),
    "a tuple of one": (lambda n, y, x: (y,), False),
    "the auxiliary last": (lambda n, y, x: (y, y.flip(1) * 2), False),
    "the auxiliary first": (lambda n, y, x: (y.flip(1) * 2, y), False),
    "a shorter auxiliary first": (lambda n, y, x: (y[:, :2], y), False),
    "features first": (lambda n, y, x: (x, y), False),
    "the loss first": (lambda n, y, x: (y.sum(), y), False),
    "a list": (lambda n, y, x: [y], False),
    "an empty tuple": (lambda n, y, x: (), False),
    "a named tuple": (lambda n, y, x: Pair(y, y * 2), False),
    "a dataclass": (lambda n, y, x: Answer(y), False),
    "a string": (lambda n, y, x: "cat", False),
    "a number": (lambda n, y, x: 3, False),
    "an array": (lambda n, y, x: y.detach().numpy(), False),
    "one value": (lambda n, y, x: y.sum(), False),
    "a value per image": (lambda n, y, x: y.sum(1), False),
    "logits of four dimensions": (lambda n, y, x: y[:, :, None, None], False),
    "a map of logits": (lambda n, y, x: x, False),
    "logits per token": (lambda n, y, x: torch.stack([y, y], 1), False),
    "integers": (lambda n, y, x: (y * 100).long(), False),
    "truth values": (lambda n, y, x: y > 0, False),
    "complex numbers": (lambda n, y, x: torch.complex(y, y), False),
    "half precision": (lambda n, y, x: y.half(), False),
    "bfloat16": (lambda n, y, x: y.bfloat16(), False),
    "detached": (lambda n, y, x: y.detach(), False),
    "its data": (lambda n, y, x: y.data, False),
    "no logits": (lambda n, y, x: y[:, :0], False),
    "one logit": (lambda n, y, x: y[:, :1], True),
    "logits of the batch": (lambda n, y, x: y.mean(0, keepdim=True), False),
    "logits twice": (lambda n, y, x: torch.cat([y, y]), False),
    "transposed": (lambda n, y, x: y.T, False),
    "NaN": (lambda n, y, x: y * torch.nan, False),
    "infinite": (lambda n, y, x: y / 0, False),
    "one infinite logit": (lambda n, y, x: y + torch.tensor([0, 0, 0, torch.inf]), False),
    "probabilities": (lambda n, y, x: y.softmax(1), True),
    "log probabilities": (lambda n, y, x: y.log_softmax(1), True),
    "not contiguous": (lambda n, y, x: y.T.contiguous().T, True),
    "constant": (lambda n, y, x: y * 0 + 1, True),
    "sparse": (lambda n, y, x: y.to_sparse(), False),
    "on no device": (lambda n, y, x: y.to("meta"), False),
    "the winner only": (lambda n, y, x: y.argmax(1), False),
    "random": (lambda n, y, x: y + torch.randn_like(y), False),
    "random scale": (lambda n, y, x: y * torch.rand(1), False),
    "dropout in evaluation": (lambda n, y, x: functional.dropout(y, 0.5, training=True), False),
    "the mean of the batch subtracted": (lambda n, y, x: y - y.mean(0), False),
    "over the batch's largest": (lambda n, y, x: y / y.abs().max(), False),
    "softmax over the batch": (lambda n, y, x: y.softmax(0), False),
    "images shifted in the batch": (lambda n, y, x: y.roll(1, 0), False),
    "sorted in the batch": (lambda n, y, x: y.sort(0).values, False),
}
# What the module `deep` returns: whether it may be accepted.
MAPS: dict[str, tuple[Callable[[Tensor], Any], bool]] = {
    "a tuple": (lambda x: (x, x), False),
    "a list": (lambda x: [x], False),
    "a dictionary": (lambda x: {"x": x}, False),
    "None": (lambda x: None, False),
    "a string": (lambda x: "x", False),
    "tokens": (lambda x: x.flatten(2).transpose(1, 2), False),
    "a vector": (lambda x: x.mean((2, 3)), False),
    "five dimensions": (lambda x: x[:, :, None], False),
    "no dimension": (lambda x: x.sum(), False),
    "one place": (lambda x: x.mean((2, 3), keepdim=True), True),
    "no channels": (lambda x: x[:, :0], False),
    "no places": (lambda x: x[:, :, :0], False),
    "detached": (lambda x: x.detach(), False),
    "integers": (lambda x: (x * 9).long(), False),
    "truth values": (lambda x: x > 0, False),
    "complex numbers": (lambda x: torch.complex(x, x), False),
    "half precision": (lambda x: x.half(), False),
    "bfloat16": (lambda x: x.bfloat16(), False),
    "NaN": (lambda x: x * torch.nan, False),
    "another batch": (lambda x: torch.cat([x, x]), False),
    "the mean of the batch": (lambda x: x.mean(0, keepdim=True), False),
    "less the mean of the batch": (lambda x: x - x.mean(0, keepdim=True), False),
    "channels last in memory": (lambda x: x.contiguous(memory_format=torch.channels_last), True),
    "expanded": (lambda x: x[:, :1].expand(-1, 5, -1, -1), True),
    "dropout in evaluation": (lambda x: functional.dropout(x, 0.5, training=True), False),
    "noise": (lambda x: x + torch.randn_like(x), False),
    "sparse": (lambda x: x.to_sparse(), False),
    "on no device": (lambda x: x.to("meta"), False),
    "constant": (lambda x: torch.ones_like(x), True),
    "in place": (lambda x: x.mul_(2), True),
}


class Wrapped(nn.Module):
    """stem, deep and head of a plain network with another forward."""

    def __init__(self) -> None:
        super().__init__()
        inner = Plain()
        self.stem, self.deep, self.head = inner.stem, inner.deep, inner.head
        self.count = 0

    def plain(self, image: Tensor) -> Tensor:
        return self.head(self.deep(self.stem(image)).mean((2, 3)))


def forward(function: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        class Odd(Wrapped):
            def forward(self, image: Tensor) -> Any:
                return function(self, image)

        return Odd()

    return build


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


def caching(net: Any, image: Tensor) -> Tensor:
    if not hasattr(net, "cached") or net.cached.shape != image.shape:
        net.cached = net.plain(image)
    return net.cached


def in_place(net: Any, image: Tensor) -> Tensor:
    image *= 2
    return net.plain(image)


def twice(net: Any, image: Tensor) -> Tensor:
    x = net.stem(image)
    net.deep(x * 2)
    return net.head(net.deep(x).mean((2, 3)))


def no_grad(net: Any, image: Tensor) -> Tensor:
    with torch.no_grad():
        return net.plain(image)


def under_inference(net: Any, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return net.plain(image)


def half_inside(net: Any, image: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return net.plain(image)


def deep_in_half(net: Any, image: Tensor) -> Tensor:
    x = net.deep.bfloat16()(net.stem(image).bfloat16())
    return net.head(x.to(image.dtype).mean((2, 3)))


def single_inside(net: Any, image: Tensor) -> Tensor:
    return net.float().plain(image.float())


def rounded(net: Any, image: Tensor) -> Tensor:
    return net.plain((image * 4).round() / 4)


def checkpointed(net: Any, image: Tensor) -> Tensor:
    x = torch.utils.checkpoint.checkpoint(net.stem, image, use_reentrant=False)
    return net.head(net.deep(x).mean((2, 3)))


def checkpointed_again(net: Any, image: Tensor) -> Tensor:
    x = torch.utils.checkpoint.checkpoint(net.stem, image, use_reentrant=True)
    return net.head(net.deep(x).mean((2, 3)))


def raising(error: BaseException) -> Callable[[Any, Tensor], Any]:
    def function(net: Any, image: Tensor) -> Any:
        raise error

    return function


def recursing(net: Any, image: Tensor) -> Any:
    return recursing(net, image)


def seeded(net: Any, image: Tensor) -> Tensor:
    torch.manual_seed(0)
    return net.plain(image + torch.randn_like(image))


def by_clock(net: Any, image: Tensor) -> Tensor:
    return net.plain(image * (1 + time.monotonic() % 1))


def numpy_noise(net: Any, image: Tensor) -> Tensor:
    return net.plain(image + float(np.random.rand()))  # noqa: NPY002


def python_noise(net: Any, image: Tensor) -> Tensor:
    return net.plain(image * random.random())


def attending_to_batch(net: Any, image: Tensor) -> Tensor:
    x = net.deep(net.stem(image))
    flat = x.flatten(1)
    weights = (flat @ flat.T).softmax(1)
    return net.head((weights @ flat).view_as(x).mean((2, 3)))


def standardised(net: Any, image: Tensor) -> Tensor:
    return net.plain((image - image.mean()) / image.std())


def standardised_each(net: Any, image: Tensor) -> Tensor:
    return net.plain(
        (image - image.mean((1, 2, 3), keepdim=True)) / image.std((1, 2, 3), keepdim=True)
    )


def fixed_batch(net: Any, image: Tensor) -> Tensor:
    return net.plain(image.view(3, 3, 16, 16))


def fixed_size(net: Any, image: Tensor) -> Tensor:
    return net.plain(image.view(-1, 3, 224, 224))


def branching(net: Any, image: Tensor) -> Tensor:
    return net.plain(image) if image.mean() > 0 else net.plain(-image)


def branching_each(net: Any, image: Tensor) -> Tensor:
    sign = torch.where(image.mean((1, 2, 3), keepdim=True) > 0, 1.0, -1.0).to(image.dtype)
    return net.plain(image * sign)


def aux_in_training(net: Any, image: Tensor) -> Any:
    y = net.plain(image)
    return (y, y * 2) if net.training else y


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient[:, :1]


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> None:
        return None


class Infinite(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient / 0


def replaced(name: str, module: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        network = Plain()
        network.set_submodule(name, module())
        return network

    return build


class AlwaysTrains(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 4))

    def train(self, mode: bool = True) -> "AlwaysTrains":
        return super().train(True)


class NeverEvaluates(Plain):
    def eval(self) -> "NeverEvaluates":
        raise RuntimeError("this network only trains")


class NoCopy(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Generates(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.steps = (n for n in range(3))


class Opens(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.file = Path("/dev/null").open()  # noqa: SIM115


class TwoArguments(Plain):
    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return super().forward(image)


class OptionalArgument(Plain):
    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        return super().forward(image)


class NamedOutput(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(4, 4)
        self.after = lambda net, y, x: net.output(y)


class KeepsAll(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list = []

    def forward(self, image: Tensor) -> Tensor:
        y = super().forward(image)
        self.seen.append(y)
        return y


class Buffer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        self.steps += 1
        return super().forward(image) * self.steps


class CountsOnly(Buffer):
    def forward(self, image: Tensor) -> Tensor:
        self.steps += 1
        return Plain.forward(self, image)


class SpectralCopy(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.utils.parametrizations.spectral_norm(self.head)


class WeightNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.deep[0] = nn.utils.parametrizations.weight_norm(self.deep[0])


class OldWeightNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.deep[0] = nn.utils.weight_norm(self.deep[0])


def hooked(kind: str) -> nn.Module:
    network = Plain()
    if kind == "forward":
        network.stem[0].register_forward_hook(lambda m, a, out: out * 3)
    elif kind == "before":
        network.stem[1].register_forward_pre_hook(lambda m, a: (a[0] * 3,))
    elif kind == "backward":
        network.stem[0].register_full_backward_hook(lambda m, i, o: (i[0] * 3,))
    else:
        network.stem[0].weight.register_hook(lambda g: g * 3)
    return network


def scripted() -> nn.Module:
    return torch.jit.script(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )


def traced() -> nn.Module:
    network = Wrapped()
    network.forward = network.plain
    return torch.jit.trace(Plain().eval(), torch.randn(2, 3, 16, 16))


def casted(change: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: change(Plain())


def bad_norm() -> nn.Module:
    network = Plain()
    network.stem[1].running_var.fill_(-1)
    return network


def nan_weight() -> nn.Module:
    network = Plain()
    with torch.no_grad():
        network.deep[0].weight[0, 0, 0, 0] = torch.nan
    return network


def shared() -> nn.Module:
    network = Plain()
    network.other = network.deep
    return network


def lazy(initialised: bool) -> nn.Module:
    network = Plain()
    network.head = nn.LazyLinear(4)
    network.deep[0] = nn.LazyConv2d(5, 3, 2, 1)
    if initialised:
        network.eval()(torch.randn(2, 3, 16, 16))
    return network


# Behaviour: how it is built, and whether it may be accepted if it is the plain loop's.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "plain": (Plain, True),
    "in training mode": (lambda: Plain().train(), True),
    "frozen": (lambda: Plain().requires_grad_(False), True),
    "counts": (forward(counting), False),
    "counts in a buffer": (Buffer, False),
    "counts, and makes no use of it": (CountsOnly, True),
    "remembers the last batch": (forward(remembering), False),
    "keeps a running mean": (forward(averaging), False),
    "keeps all outputs": (KeepsAll, True),
    "caches its first answer": (forward(caching), False),
    "changes the image in place": (forward(in_place), True),
    "calls deep twice": (forward(twice), False),
    "without gradients": (forward(no_grad), False),
    "in inference mode": (forward(under_inference), False),
    "autocast inside": (forward(half_inside), False),
    "deep in bfloat16": (forward(deep_in_half), False),
    "single precision inside": (forward(single_inside), False),
    "rounds the image": (forward(rounded), True),
    "checkpoints": (forward(checkpointed), True),
    "checkpoints, the old way": (forward(checkpointed_again), True),
    "raises ValueError": (forward(raising(ValueError("images must be of 32 px"))), False),
    "raises KeyError": (forward(raising(KeyError("x"))), False),
    "raises RuntimeError": (forward(raising(RuntimeError("shape '[3]' is invalid\nmore"))), False),
    "raises NotImplementedError": (forward(raising(NotImplementedError())), False),
    "asserts": (forward(raising(AssertionError())), False),
    "exits": (forward(lambda net, image: sys.exit(3)), False),
    "recurses": (forward(recursing), False),
    "seeds itself and draws": (forward(seeded), False),
    "depends on the time": (forward(by_clock), False),
    "NumPy's noise": (forward(numpy_noise), False),
    "Python's noise": (forward(python_noise), False),
    "attends to the batch": (forward(attending_to_batch), False),
    "standardises the batch": (forward(standardised), False),
    "standardises each image": (forward(standardised_each), True),
    "a batch norm without statistics": (
        replaced("stem.1", lambda: nn.BatchNorm2d(4, track_running_stats=False)),
        False,
    ),
    "a norm over the batch": (replaced("stem.1", lambda: nn.BatchNorm2d(4, momentum=None)), True),
    "an instance norm": (replaced("stem.1", lambda: nn.InstanceNorm2d(4)), True),
    "an instance norm with statistics": (
        replaced("stem.1", lambda: nn.InstanceNorm2d(4, track_running_stats=True)),
        True,
    ),
    "a group norm": (replaced("stem.1", lambda: nn.GroupNorm(2, 4)), True),
    "a synchronised norm": (replaced("stem.1", lambda: nn.SyncBatchNorm(4)), True),
    "takes batches of three only": (forward(fixed_batch), False),
    "takes 224 px only": (forward(fixed_size), False),
    "branches on the batch": (forward(branching), False),
    "branches on each image": (forward(branching_each), True),
    "an auxiliary in training only": (forward(aux_in_training), True),
    "takes one channel": (replaced("stem.0", lambda: nn.Conv2d(1, 4, 3, 2, 1)), False),
    "a kernel larger than the image": (replaced("stem.0", lambda: nn.Conv2d(3, 4, 40)), False),
    "a backward of another shape": (
        forward(lambda net, image: net.plain(Wrong.apply(image))),
        False,
    ),
    "a backward of nothing": (
        forward(lambda net, image: net.plain(NoGradient.apply(image))),
        False,
    ),
    "an infinite backward": (forward(lambda net, image: net.plain(Infinite.apply(image))), False),
    "always trains": (AlwaysTrains, False),
    "never evaluates": (NeverEvaluates, False),
    "holds a lock": (NoCopy, False),
    "holds a generator": (Generates, False),
    "holds a file": (Opens, False),
    "takes two arguments": (TwoArguments, False),
    "takes an optional argument": (OptionalArgument, True),
    "a module named output": (NamedOutput, True),
    "spectral norm": (SpectralCopy, True),
    "weight norm": (WeightNorm, True),
    "weight norm, the old way": (OldWeightNorm, True),
    "a forward hook": (lambda: hooked("forward"), True),
    "a hook before": (lambda: hooked("before"), True),
    "a backward hook": (lambda: hooked("backward"), True),
    "a hook on a weight": (lambda: hooked("weight"), True),
    "scripted": (scripted, True),
    "traced": (traced, True),
    "half precision": (casted(lambda n: n.half()), True),
    "bfloat16": (casted(lambda n: n.bfloat16()), True),
    "double precision": (casted(lambda n: n.double()), True),
    "on no device": (casted(lambda n: n.to("meta")), False),
    "data parallel": (lambda: nn.DataParallel(Plain()), True),
    "lazy": (lambda: lazy(False), False),
    "lazy, initialised": (lambda: lazy(True), True),
    "a negative variance": (bad_norm, False),
    "NaN in a weight": (nan_weight, False),
    "a module under two names": (shared, True),
    "no forward": (lambda: nn.ModuleList([nn.Conv2d(3, 4, 3)]), False),
    "dropout": (replaced("deep.1", lambda: nn.Dropout(0.5)), True),
    "dropout of maps": (replaced("deep.1", lambda: nn.Dropout2d(0.5)), True),
    "alpha dropout": (replaced("deep.1", lambda: nn.AlphaDropout(0.5)), True),
    "a random ReLU": (replaced("deep.1", lambda: nn.RReLU()), True),
    "an in-place ReLU": (replaced("deep.1", lambda: nn.ReLU(True)), True),
    "a bilinear enlargement": (
        replaced("deep.1", lambda: nn.UpsamplingBilinear2d(scale_factor=2)),
        True,
    ),
    "a quantized head": (
        lambda: torch.ao.quantization.quantize_dynamic(Plain(), {nn.Linear}),
        False,
    ),
}


def plain_loop(network: nn.Module, batch: Tensor, target: str) -> np.ndarray:
    """Eqs. 1 to 3 as they are written, one image at a time, in double precision."""
    network = copy.deepcopy(network).double().eval()
    total = np.zeros(batch.shape[2:])
    for image in batch.double().split(1):
        image = image.clone().requires_grad_()
        kept = []
        if target != "output":
            hook = functools.partial(lambda to, _m, _a, out: to.append(out), kept)
            handle = network.get_submodule(target).register_forward_hook(hook)
        output = network(image * 1)
        logits = getattr(output, "logits", output)
        if target == "output":
            value = logits[0].max()
        else:
            handle.remove()
            height, width = kept[0].shape[2:]
            value = kept[0][0, :, height // 2, width // 2].mean()
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, image, allow_unused=True)
            if gradient is not None:
                total += gradient[0].mean(0).relu().numpy()
    return total / len(batch)


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
                expected = plain_loop(built(build), batch, target)
            except Exception as error:
                raise Silent("accepted") from error
            if not np.allclose(found, expected, rtol=1e-6, atol=1e-9 * max(expected.max(), 1e-30)):
                raise Silent(
                    f"off by {np.abs(found - expected).max() / max(expected.max(), 1e-30):.1%}"
                )

        return Case(f"field of {target}: {name}", run, ABOUT)

    def classes(name: str, build: Callable[[], nn.Module], acceptable: bool) -> Case:
        def run(_: Path) -> None:
            found = calls.predicted(built(build), batch.clone())
            with torch.no_grad():
                plain = built(build).eval()
                output = plain(batch)
                expected = getattr(output, "logits", output)
            if not acceptable:
                raise Silent(f"accepted: {found}")
            if found != expected.argmax(1).tolist():
                raise Silent(f"{found}, not {expected.argmax(1).tolist()}")

        return Case(f"classes: {name}", run, ABOUT)

    def size(name: str, build: Callable[[], nn.Module], target: str, acceptable: bool) -> Case:
        def run(_: Path) -> None:
            found = receptive_field.theoretical(built(build), target, (16, 16))
            if not acceptable:
                raise Silent(f"accepted: {found.size}")

        return Case(f"size of {target}: {name}", run, ABOUT)

    for name, (after, acceptable) in OUTPUTS.items():

        def build(a: Callable = after) -> nn.Module:
            return Plain(after=a)

        # a cast's gradient is exact, and a named tuple says which part is meant
        fine = acceptable or name in {"half precision", "bfloat16", "a named tuple"}
        yield field(f"returns {name}", build, "output")
        yield field(f"returns {name}", build, "deep")
        yield classes(f"returns {name}", build, fine or name in {"detached", "its data"})
    for name, (change, _) in MAPS.items():

        def build(c: Callable = change) -> nn.Module:
            return with_deep(c)

        yield field(f"deep returns {name}", build, "deep")
        yield field(f"deep returns {name}", build, "output")
        yield size(f"deep returns {name}", build, "deep", True)
    for name, (build, acceptable) in NETWORKS.items():
        targets = {
            "scripted": ("output",),
            "no forward": ("0", "output"),
            "data parallel": ("module.deep", "output"),
        }
        for target in targets.get(name, ("deep", "output")):
            yield field(name, build, target)
        yield classes(
            name,
            build,
            acceptable
            or name
            in {
                "without gradients",
                "in inference mode",
                "autocast inside",
                "deep in bfloat16",
                "single precision inside",
                "calls deep twice",
                "a backward of another shape",
                "a backward of nothing",
                "an infinite backward",
                "holds a lock",
                "holds a generator",
                "holds a file",
                "a quantized head",
                "takes batches of three only",
            },
        )
