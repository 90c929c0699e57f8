"""How many clean images are flagged when a camera, a codec or a lamp changes them a little?

    CE_DETECT_DATA=... python -m benchmarks.natural.benign   # recipes that count such change as clean, and the default

Attacked images come from the cache, where ``benchmarks.detection.detection`` left them, or are made. Result:
``results/benign.json``; `table` is its table in the docs.
"""
