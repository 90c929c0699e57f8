"""An ONNX file as bytes, held against the package ``onnx``."""

from __future__ import annotations

import numpy as np
import onnx
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


def test_numbers_of_fields_are_those_of_onnx() -> None:
    """Every field of every message that leads to a tensor is known, and only those."""
    leading = set(onnx_bytes.MESSAGES)
    for kind, fields in onnx_bytes.MESSAGES.items():
        described = getattr(onnx, kind).DESCRIPTOR.fields
        of_messages = {f.number: f.message_type.name for f in described if f.message_type is not None}
        assert {number: name for number, name in of_messages.items() if name in leading} == dict(fields)
    numbers = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert onnx_bytes.OUTSIDE["TensorProto"] == tuple(numbers[n].number for n in ("external_data", "data_location"))
    assert onnx.ModelProto.DESCRIPTOR.fields_by_name["metadata_props"].number == onnx_bytes.METADATA
    assert onnx.NodeProto.DESCRIPTOR.fields_by_name["op_type"].number == onnx_bytes.OPERATOR


def test_metadata_is_read() -> None:
    """As the package reads it, and an entry that is put behind the file is one more."""
    content = fused.graph()
    props = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
    assert onnx_bytes.check_whole(content) == props
    longer = content + onnx_bytes.entry("key", "ä" * 300)
    assert {one.key: one.value for one in onnx.load_from_string(longer).metadata_props} == {**props, "key": "ä" * 300}
    assert onnx_bytes.check_whole(longer)["key"] == "ä" * 300


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
            onnx_bytes.check_whole(made.SerializeToString())
    marked = outside()
    marked.ClearField("external_data")
    with pytest.raises(ArtifactError, match="weights in another file"):
        onnx_bytes.check_whole(model(tensors=(marked,)).SerializeToString())


def test_compiled_parts_in_another_file_are_refused() -> None:
    """ONNX Runtime has an operator for them."""
    with pytest.raises(ArtifactError, match="compiled parts"):
        onnx_bytes.check_whole(model(helper.make_node("EPContext", [], ["x"])).SerializeToString())


def test_what_is_no_text_or_not_whole() -> None:
    """The error is ours."""
    bad = onnx_bytes.entry("key", "xx").replace(b"xx", b"\xff\xfe")
    with pytest.raises(ArtifactError, match="metadata is no text"):
        onnx_bytes.check_whole(fused.graph() + bad)
    for content in (b"\xff" * 20, b"hello", fused.graph()[:-1], b"\x0b\x0b", b"\x00\x00"):
        with pytest.raises(ArtifactError, match="ends too early, or is no ONNX file"):
            onnx_bytes.check_whole(content)
