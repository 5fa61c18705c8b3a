"""A network's core as a plain list of layers, for whatever rewrites it: the graph writer, the quantiser.

What PyTorch traces (torch.fx) is taken apart into the few kinds of layers that the transformers are made of.
"""

import operator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

FRAME = "frame"
"""Name of what the first layer reads."""

_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.InstanceNorm2d: "norm",
    nn.PixelUnshuffle: "unshuffle",
    nn.PixelShuffle: "shuffle",
    nn.Upsample: "resize",
}


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation, with the ReLU behind it if there is one."""

    name: str
    kind: str
    """`conv`, `norm`, `add`, `unshuffle`, `shuffle` or `resize`."""
    inputs: tuple[str, ...]
    """Names of the layers it reads, or `FRAME`."""
    module: Any
    """The module; None for `add`."""
    node: fx.Node
    """The traced node whose value the layer gives: its ReLU's if it has one."""
    relu: bool


def layers_of(core: fx.GraphModule) -> list[Layer]:
    """The traced core as layers, in the order in which they run.

    Raises:
        ValueError: it holds something else.
    """
    modules = dict(core.named_modules())
    made_by: dict[fx.Node, str] = {}
    layers: list[Layer] = []
    for node in core.graph.nodes:
        if node.op == "placeholder":
            made_by[node] = FRAME
        elif node.op != "output" and node not in made_by:
            layer = _layer(node, modules, made_by)
            layers.append(layer)
            made_by[node] = made_by[layer.node] = layer.name
    return layers


def _layer(node: fx.Node, modules: dict[str, nn.Module], made_by: dict[fx.Node, str]) -> Layer:
    module = modules[str(node.target)] if node.op == "call_module" else None
    kind = _KINDS.get(type(module), "") if module else "add" if node.target is operator.add else ""
    if not kind:
        what = type(module).__name__ if module else node.target
        known = ", ".join(kind.__name__ for kind in _KINDS)
        raise ValueError(f"layer {node.name}: got {what}, expected {known}, + or a ReLU behind one of them")
    inputs = tuple(made_by[source] for source in node.all_input_nodes)
    [*users] = node.users
    relu = len(users) == 1 and isinstance(modules.get(str(users[0].target)), nn.ReLU)
    return Layer(node.name, kind, inputs, module, users[0] if relu else node, relu)
