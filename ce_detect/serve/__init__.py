"""A server of verdicts: Open Inference Protocol v2 over HTTP, of one fused guard, without torch and scikit-learn.

One process: an event loop at the edge (`app`, `server`), bytes to arrays in pure functions (`protocol`), and one thread
that runs batches through ONNX Runtime, which computes outside Python's global lock (`batching`). Where it dies, the
requests it held die with it; the audit log holds every verdict that was given before. systemd or the container starts
it again.
"""
