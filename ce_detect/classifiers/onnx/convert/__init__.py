"""ONNX graphs as PyTorch modules."""
