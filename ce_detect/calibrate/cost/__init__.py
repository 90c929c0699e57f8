"""What things cost on this machine, in PyTorch and in ONNX Runtime."""
