"""What does a gate cost in time and memory, what does it take to make one, and what do fewer bits cost?

    CE_DETECT_DATA=... python -m benchmarks.cost.cost            # a gated forward over the model alone, by batch size
    python -m benchmarks.cost.resume                             # going on from each site over a whole forward
    python -m benchmarks.cost.memory --data train.npz            # peak memory of a calibration, by its number of images
    CE_DETECT_DATA=... python -m benchmarks.cost.attacks         # Carlini-Wagner by ART and by us
    CE_DETECT_DATA=... python -m benchmarks.cost.calibration     # minutes of a calibration
    python -m benchmarks.cost.precision                          # graphs in float16 and in eight bits beside float32

``cost.py`` needs the gates that ``benchmarks.detection.detection`` left; its figures stand in the table of `detection`.
Results: ``results/``; `table` has the tables of ``precision.py`` and ``calibration.py`` in the docs.
"""
