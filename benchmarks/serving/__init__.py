"""What does a gate cost in ONNX Runtime, is its graph the same gate, and does the server stand load and faults?

    CE_DETECT_DATA=... python -m benchmarks.serving.serving --threads 1   # the fused graph over the bare model's
    CE_DETECT_DATA=... python -m benchmarks.serving.verify                # exported graphs against PyTorch
    python -m benchmarks.serving.load guard.onnx                          # `ce-detect serve` under wrk, and its faults
    CE_DETECT_DATA=... python -m benchmarks.serving.watched               # with monitor, records and store on
    python -m benchmarks.serving.scan_memory --guard guard.onnx           # peak memory of `ce-detect scan`

The first two need the gates that ``benchmarks.detection`` left. `graphs` exports and opens graphs, `load_rig` and
`load_faults` belong to ``load.py``. Results: ``results/``; `table` has the tables of ``serving.py`` and ``watched.py``
in the docs.
"""
