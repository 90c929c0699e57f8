"""An ONNX file as bytes, held against the package ``onnx`` and against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import fused

from ce_detect.artifacts import onnx_bytes
from ce_detect.core.errors import ArtifactError


def outside() -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def model(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    """A graph of nodes and tensors."""
    return helper.make_model(helper.make_graph(list(nodes), "graph", [], [], list(tensors)))


def test_an_entry_behind_a_file_is_metadata() -> None:
    """As the package reads it, one more."""
    content = fused.graph()
    props = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
    longer = content + onnx_bytes.entry("key", "ä" * 300)
    assert {one.key: one.value for one in onnx.load_from_string(longer).metadata_props} == {**props, "key": "ä" * 300}
    assert onnx.ModelProto.DESCRIPTOR.fields_by_name["metadata_props"].number == onnx_bytes.METADATA


def test_weights_in_another_file_are_refused() -> None:
    """Wherever the tensor is: among the weights, in a node, in a graph inside a node, in a function, a sparse one."""
    constant = helper.make_node("Constant", [], ["x"], value=outside())
    inner = helper.make_graph([constant], "inner", [], [])
    sparse = onnx.SparseTensorProto(values=outside(), dims=[4])
    function = helper.make_function("domain", "F", [], ["x"], [constant], [helper.make_opsetid("", 18)])
    with_function, with_sparse = model(), model()
    with_function.functions.append(function)
    with_sparse.graph.sparse_initializer.append(sparse)
    branch = helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner)
    for made in (model(tensors=(outside(),)), model(constant), model(branch), with_function, with_sparse):
        with pytest.raises(ArtifactError, match="weights in another file"):
            onnx_bytes.check_alone(made.SerializeToString())


def test_compiled_parts_in_another_file_are_refused() -> None:
    """ONNX Runtime has an operator for them."""
    with pytest.raises(ArtifactError, match="compiled parts"):
        onnx_bytes.check_alone(model(helper.make_node("EPContext", [], ["x"])).SerializeToString())


def varint(value: int, longer: int = 0) -> bytes:
    """A number as protocol buffers hold it, spelled with more bytes than it takes."""
    parts = [value >> 7 * place & 0x7F for place in range(max(1, -(-value.bit_length() // 7)) + longer)]
    return bytes([*(part | 0x80 for part in parts[:-1]), parts[-1]])


def field(number: int, content: bytes, *, beyond: int = 0, longer: int = 0) -> bytes:
    """A field; the bits of its number beyond the 32 that ONNX Runtime looks at are another's business."""
    return varint((beyond << 32) + (number << 3 | 2)) + varint(len(content), longer) + content


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("longer", [0, 1, 3])
def test_odd_spellings_lead_nowhere(beyond: int, longer: int, tmp_path: Path) -> None:
    """ONNX Runtime takes numbers of fields that are too large, and lengths that are too long; it reads that file."""
    odd = {"beyond": beyond, "longer": longer}
    key = field(1, b"location", **odd) + field(2, b"weights.bin", **odd)
    marked = varint((beyond << 32) + (14 << 3)) + b"\x01"
    tensor = b"\x08\x04\x10\x01" + field(8, b"w") + field(13, key, **odd) + marked
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["w"], ["y"])],
            "graph",
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    content = made.SerializeToString() + field(7, field(5, tensor, **odd))  # one graph in two parts
    np.arange(4, dtype=np.float32).tofile(tmp_path / "weights.bin")
    (tmp_path / "odd.onnx").write_bytes(content)
    session = onnxruntime.InferenceSession(tmp_path / "odd.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {})[0], np.arange(4))
    with pytest.raises(ArtifactError, match="weights in another file"):
        onnx_bytes.check_alone(content)


def test_words_in_names_refer_to_nothing() -> None:
    """A tensor of a head has the word in its name; only the very word is a reference."""
    named = numpy_helper.from_array(np.zeros(4, np.float32), "head.location")
    others = helper.make_node("Identity", ["head.location"], ["locations"], name="/EPContexts")
    found = model(others, tensors=(named,)).SerializeToString()
    assert b"location" in found
    onnx_bytes.check_alone(found)
    named.name = "location"
    with pytest.raises(ArtifactError, match="call no tensor and no node so"):
        onnx_bytes.check_alone(model(tensors=(named,)).SerializeToString())
