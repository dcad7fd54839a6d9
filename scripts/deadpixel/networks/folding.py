"""Batch norms folded into convolutions: the same function with fewer passes over memory."""

import collections
import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._pytree import tree_leaves

from ..copies import copied
from ..errors import in_one_line
from ..logs import log
from ..surgery.changes import OwnHook, is_changed


def fold_batch_norms(model: nn.Module, *, keep: Iterable[str] = ()) -> int:
    """Fold each batch norm whose input is one convolution's output, in place; returns how many.

    Nothing is folded whose output is looked at: by another operation, by a module named in `keep`
    (a container may yield what its last convolution does), by a hook. A network that torch.fx
    cannot trace is left as it is: folding changes the speed, not the result.
    """
    traced = copied(model)  # the user's own code may keep what it is called with
    tracer = _Tracer(traced, keep)
    try:
        graph = tracer.trace(traced)
    except Exception as error:  # the user's own code
        log.info("batch norms are not folded, which is slower: %s", in_one_line(error))
        return 0
    calls = collections.Counter(node.target for node in graph.nodes if node.op == "call_module")
    read = {_memory(traced, node.target) for node in graph.nodes if node.op == "get_attr"}
    folded = 0
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module":
            continue
        names = str(source.target), str(node.target)
        if (
            _can_fold(*map(traced.get_submodule, names))
            and len(source.users) == calls[source.target] == calls[node.target] == 1
            and source not in tracer.watched
            and _memory(traced, f"{source.target}.weight") not in read
            and _memory(traced, f"{source.target}.bias") not in read
        ):
            _fold(*map(model.get_submodule, names))
            folded += 1
    return folded


class _Tracer(torch.fx.Tracer):
    """Notes what goes into and comes out of the modules that somebody looks at."""

    def __init__(self, model: nn.Module, targets: Iterable[str]) -> None:
        super().__init__()
        modules = dict(model.named_modules(remove_duplicate=False))
        self._targets = {modules[name] for name in targets if name in modules}
        self.watched: set[Any] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whatever its class, a changed kernel's hook needs a map and not its place in a graph."""
        return is_changed(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        seen = [result] if m in self._targets else []
        if _is_watched(m):
            seen += [args, kwargs, result]
        self.watched |= {p.node for p in tree_leaves(seen) if isinstance(p, torch.fx.Proxy)}
        return result


def _is_watched(module: nn.Module) -> bool:
    """Whether hooks other than our own, or a `forward` of its own, see what passes through."""
    hooks = itertools.chain(
        module._forward_hooks.values(),
        module._forward_pre_hooks.values(),
        module._backward_hooks.values(),
        module._backward_pre_hooks.values(),
    )
    return "forward" in vars(module) or not all(isinstance(hook, OwnHook) for hook in hooks)


def _can_fold(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are the plain modules: one with a parametrised weight is of another class."""
    return (
        type(convolution) is nn.Conv2d
        and convolution._parameters.get("weight") is not None
        and type(norm) is nn.BatchNorm2d
        and norm.running_mean is not None
        and not norm.training
    )


def _fold(convolution: Any, norm: Any) -> None:
    """Changes both modules of `_can_fold` themselves, since they may be known by several names."""
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    norm.forward = nn.Identity().forward


def _memory(model: nn.Module, name: str) -> int | None:
    """Where a parameter lies, which tied ones and views have in common; None for no tensor."""
    found = operator.attrgetter(name)(model)
    return found.untyped_storage().data_ptr() if isinstance(found, Tensor) else None
