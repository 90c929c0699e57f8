"""What does a gate cost in time and in memory, and what does a graph in fewer bits save and lose?

    CE_DETECT_DATA=... python -m benchmarks.cost.cost            # a gated forward over the model alone, by batch size
    python -m benchmarks.cost.resume                             # going on from each site over a whole forward
    python -m benchmarks.cost.memory --data train.npz            # peak memory of a calibration, by its number of images
    python -m benchmarks.cost.precision                          # graphs in float16 and in eight bits beside float32

``cost.py`` needs the gates that ``benchmarks.detection.detection`` left; its figures stand in the table of `detection`.
Results: ``results/``; `table` is the table of ``precision.py`` in the docs.
"""
