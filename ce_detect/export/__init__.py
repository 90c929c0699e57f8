"""A calibrated gate as one ONNX graph: `fused_graph` makes it, `parity` checks it, `writer` and `triton` write it."""
