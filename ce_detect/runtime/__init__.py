"""The gate without torch: a fused graph on ONNX Runtime, with NumPy around it."""

from ce_detect.runtime.gate import Gate

__all__ = ["Gate"]
