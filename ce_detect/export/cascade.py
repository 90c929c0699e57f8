"""The graph of a gate with a cascade: rows that the first part does not clear are taken out, judged and put back.

No branch: a part without rows costs little, and inside a branch ONNX Runtime does not lay out convolutions for the
processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ce_detect.export import optimize

if TYPE_CHECKING:  # onnx comes with the extra ``onnx``
    from onnx import GraphProto, ModelProto, NodeProto

PIXELS, LOGITS, FREE, SCORE = "pixels", "logits", "free", "score"

SEEN = (LOGITS, FREE, SCORE)
"""What the first part gives, beside latents; before it pixels, unless they are what it reads."""

READ = (PIXELS, LOGITS, FREE)
"""What the second part reads, beside latents."""

_LEVEL, _CLEARED, _LEFT = "cascade/level", "cascade/cleared", "cascade/left"

_LAST = {f"last/{LOGITS}": LOGITS, f"last/{SCORE}": SCORE}
"""What the last part reads of the others, and what it is called there."""


def joined(
    first: ModelProto, second: ModelProto, last: ModelProto, *, level: float, latents: Sequence[str]
) -> ModelProto:
    """Join three graphs to one that reads what the first reads, and the last beside, and gives logits and verdicts.

    Args:
        first: gives `SEEN` and latents.
        second: reads `READ` and latents, and gives scores.
        last: reads logits and scores, and gives everything else.
        level: score of the first part above which a row goes through the second.
        latents: their names.
    """
    from onnx import TensorProto, compose, helper

    before, rest, after = (
        compose.add_prefix(model, f"{name}/").graph
        for name, model in (("first", first), ("second", second), ("last", last))
    )
    logits = next(value for value in before.output if value.name == f"first/{LOGITS}")
    score = helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["batch"])
    label, *others = after.output
    graph = helper.make_graph(
        [*before.node, *_taken_out(before, latents), *rest.node, *_put_back(), *after.node],
        "cascade",
        [*before.input, *(value for value in after.input if value.name not in _LAST)],
        [logits, label, score, *others],
        initializer=[
            *before.initializer,
            *rest.initializer,
            *after.initializer,
            helper.make_tensor(_LEVEL, TensorProto.FLOAT, [], [level]),
        ],
    )
    _rename(graph)
    return helper.make_model(graph, opset_imports=list(first.opset_import), ir_version=first.ir_version)


def _taken_out(before: GraphProto, latents: Sequence[str]) -> list[NodeProto]:
    """Nodes that give the second part the rows that the first did not clear."""
    from onnx import helper

    given = {value.name for value in before.output}
    pixels = f"first/{PIXELS}" if f"first/{PIXELS}" in given else before.input[0].name
    sources = {PIXELS: pixels, **{name: f"first/{name}" for name in (LOGITS, FREE, *latents)}}
    return [
        helper.make_node("LessOrEqual", [f"first/{SCORE}", _LEVEL], [_CLEARED]),
        helper.make_node("Not", [_CLEARED], [_LEFT]),  # also where a score is not a number
        *(
            helper.make_node("Compress", [source, _LEFT], [f"second/{name}"], axis=0)
            for name, source in sources.items()
        ),
    ]


def _put_back() -> list[NodeProto]:
    """Nodes that put the scores of the second part in the place of those of the first."""
    from onnx import helper

    return [
        helper.make_node("NonZero", [_LEFT], ["cascade/places"]),
        helper.make_node("Transpose", ["cascade/places"], ["cascade/rows"], perm=[1, 0]),
        helper.make_node("ScatterND", [f"first/{SCORE}", "cascade/rows", f"second/{SCORE}"], [SCORE]),
    ]


def _rename(graph: GraphProto) -> None:
    """Take the names of the parts off inputs and outputs, and let the last part read what the others give."""
    values = [value for value in (*graph.input, *graph.output) if value.name != SCORE]
    names = _LAST | {value.name: value.name.partition("/")[2] for value in values}
    for node in optimize.nodes(graph):
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in values:
        value.name = names[value.name]


def clearing_all(model: ModelProto) -> bytes:
    """The same graph, but that no row goes through the second part: what runs then runs whatever is cleared."""
    from onnx import TensorProto, helper

    other = type(model)()
    other.CopyFrom(model)
    other.graph.initializer.append(helper.make_tensor("cascade/all", TensorProto.FLOAT, [], [float("inf")]))
    (cleared,) = (node for node in other.graph.node if _CLEARED in node.output)
    cleared.input[1] = "cascade/all"
    content: bytes = other.SerializeToString()
    return content
