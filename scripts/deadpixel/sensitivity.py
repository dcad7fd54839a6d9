"""How sensitive a random network is to each pixel, from its structure alone: no weights, no images.

Which pixels a network sees unequally follows from its strides and kernels. Of all networks with the
same structure and random weights, the variance of the gradient at each pixel is a sum over all
paths, which one pass back over the operations adds up: an analytic effective receptive field.
"""

import itertools
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from .errors import InputError
from .features import observed
from .networks.forward import taken_apart
from .reading import modules_of, named, of_shape
from .surgery.windows import Axis, Window
from .targets import OUTPUT, Target, feature
from .variances.moments import Moments
from .variances.rule import Known, Rule
from .variances.rules import rule_of
from .variances.tape import Step, Tape, Value, without_weights


def expected(
    model: nn.Module,
    input_size: tuple[int, int] = (224, 224),
    target: str | Target = OUTPUT,
    *,
    channels: int = 3,
) -> np.ndarray:
    """Expected sensitivity (H, W) of `target` to each pixel, float64: root mean square of G.

    G is the mean over colours of the gradient of the mean logit, or of the mean over channels at
    the target's place, as in `erf`; the mean is over weights, and over images of white noise. Where
    G is normal a field that `erf.accumulate` measures is 1 / sqrt(2 pi) times this.

    Weights are taken for independent, of mean zero and variance one over the fan-in; gains of norms
    and layer scales for one, biases for zero; batch norms for calibrated; attention for uniform
    where nothing masks it, and gradients through its weights for none; every place in the window of
    a max-pool for the largest equally often. Filters that are no parameters count as they are.
    `model` is left as it was; its parameters may be on the meta device.

    Raises `InputError` for an operation without a rule, by its name, and if the network or the
    target fails.
    """
    return Structure(model, input_size, target, channels=channels).field()


class Structure:
    """What one forward pass does, from which fields are computed as often as one likes."""

    def __init__(
        self,
        model: nn.Module,
        input_size: tuple[int, int] = (224, 224),
        target: str | Target = OUTPUT,
        *,
        channels: int = 3,
    ) -> None:
        """Record the pass and compute the moments of all values; raises as `expected` does."""
        self._tape, self._target = recorded(model, input_size, target, channels)
        self._known = Known()
        self._known.moments[self._tape.image] = _white_noise()
        self._rules: list[tuple[Step, Rule]] = []
        for step in self._tape.steps:
            self._add(step)

    def _add(self, step: Step) -> None:
        rule = rule_of(step)
        self._rules.append((step, rule))
        with torch.no_grad():
            moments = rule.moments(step, self._known)
        self._known.moments |= dict(zip(step.outputs, moments, strict=False))

    def field(self, evened: Collection[Step] = ()) -> np.ndarray:
        """As `expected` returns it.

        evened: operations behind which variances are averaged over cells of their stride, as if
        they met all pixels equally often.
        """
        of_each = torch.tensor([[self._target.shape[1] ** -2.0]], dtype=torch.float64)
        gradients = {self._target: of_each}
        for step, rule in reversed(self._rules):
            arriving = [gradients.pop(made, None) for made in step.outputs]
            if all(part is None for part in arriving):
                continue
            for value, part in rule.gradients(step, self._known, arriving):
                passed = _evened(part, _strides(step)) if step in evened else part
                gradients[value] = gradients[value] + passed if value in gradients else passed
        image = self._tape.image
        if image not in gradients:
            raise InputError("no gradient leads from the target to the image: choose another")
        variance = gradients[image].expand(image.shape).sum((0, 1)) / image.shape[1] ** 2
        if not variance.isfinite().all():
            raise InputError("the sensitivity is infinite or NaN, as behind a norm of constants")
        if not variance.any():
            raise InputError(
                "the sensitivity is zero everywhere: the target does not depend on the image, or "
                "gradients are too small for float64"
            )
        return variance.sqrt().numpy()

    def uneven(self) -> list[Step]:
        """Convolutions and pools whose windows meet some places more often than others."""
        return [step for step, _ in self._rules if _is_uneven(step)]


def _is_uneven(step: Step) -> bool:
    """Where the stride divides neither the kernel nor, of one that is spread out, anything."""
    strides = _strides(step)
    spread = {*step.given.get("dilation", [1])} != {1}
    lengths = zip(_kernel(step), strides, strict=True) if strides else ()
    return any(stride > 1 and (length % stride or spread) for length, stride in lengths)


def axes_of(step: Step) -> tuple[Axis, Axis] | None:
    """Geometry along rows and columns, of a convolution or pool of maps that is not transposed."""
    strides = _strides(step)
    if not strides:
        return None
    sizes = (_kernel(step), strides, step.given["padding"], step.given.get("dilation", (1, 1)))
    rows, columns = zip(*sizes, strict=True)
    return Axis(*rows), Axis(*columns)


def described(step: Step) -> str:
    """An operation for a reader: its module, what it is, its window."""
    window = Window(step.module, step.func.overloadpacket.__name__, _kernel(step), _strides(step))
    return str(window)


def _kernel(step: Step) -> tuple[int, ...]:
    weight = step.given.get("weight")
    return tuple(step.given["kernel_size"] if weight is None else weight.shape[2:])


def _white_noise() -> Moments:
    one = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    return Moments(0 * one, 0 * one, one)


def recorded(
    model: nn.Module,
    input_size: tuple[int, int],
    target: str | Target = OUTPUT,
    channels: int = 3,
) -> tuple[Tape, Value]:
    """The tape of a forward pass up to the target, and the target's features (1, C) on it."""
    _check_plain(model)
    name = str(target)
    wanted = named({name: target}, modules_of(model))[name]
    shapes = without_weights(model)
    image = torch.empty(1, channels, *input_size, device="meta")
    tape = Tape(image)
    _follow_modules(shapes, tape)
    found: list[tuple[Value, int]] = []

    def note(tensor: Tensor, name: str, _target: Target) -> Tensor:
        read = of_shape(shapes, name, tuple(tensor.shape), wanted, input_size)
        features = tape.value(feature(tensor, name, read))
        found.append((features, len(tape.steps)))
        return torch.zeros(len(tensor))

    with torch.no_grad(), taken_apart(), tape:
        observed(shapes, image, {name: wanted}, note)
    features, length = found[0]
    del tape.steps[length:]
    return tape, features


def _check_plain(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"module {name!r} is scripted: give the nn.Module that it was made of instead"
            )
    if any(map(is_lazy, itertools.chain(model.parameters(), model.buffers()))):
        raise InputError(
            "the network has lazy modules, whose weights do not exist yet: call it once on an image"
        )


def _follow_modules(model: nn.Module, tape: Tape) -> None:
    for name, module in model.named_modules():

        def enter(module: nn.Module, _arguments: Any, name: str = name) -> None:
            if isinstance(module, nn.RNNBase):  # it makes its own first state, not on this device
                raise InputError(
                    f"module {name!r} is recurrent: the sensitivity of such networks is not known"
                )
            tape.modules.append(name)

        def leave(_module: nn.Module, _arguments: Any, _output: Any) -> None:
            tape.modules.pop()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)


def _strides(step: Step) -> tuple[int, ...]:
    """Of a convolution or pool that is not transposed, along rows and columns; else none."""
    given = step.given
    windows = "kernel_size" in given or (step.func.overloadpacket is torch.ops.aten.convolution)
    if not windows or given.get("transposed") or len(step.inputs[0].shape) != 4:
        return ()
    return tuple(given["stride"] or given["kernel_size"])


def _evened(part: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Each cell of a map (..., H, W) at its mean."""
    height, width = part.shape[-2:]
    cells = functional.avg_pool2d(part, strides, ceil_mode=True, count_include_pad=False)
    rows = cells.repeat_interleave(strides[0], -2)[..., :height, :]
    return rows.repeat_interleave(strides[1], -1)[..., :width]
