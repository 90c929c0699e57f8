"""A calibrated gate as one ONNX graph: `graph` makes it, `verify` holds it against PyTorch, `triton` lays it out."""
