"""Classifiers from ONNX files; importing anything in here takes the packages of the extra ``onnx``."""

from ce_detect.core.extras import needed_for

with needed_for("Reading an ONNX model", extra="onnx"):
    from ce_detect.classifiers.onnx.convert.module import OnnxModule
    from ce_detect.classifiers.onnx.file import read
    from ce_detect.classifiers.onnx.loading import load
    from ce_detect.classifiers.onnx.session import RuntimeModule

__all__ = ["OnnxModule", "RuntimeModule", "load", "read"]
