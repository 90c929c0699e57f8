"""What does an attacker pay who knows the detector, and what raises the price?

    CE_DETECT_DATA=... python -m benchmarks.adaptive.adaptive --images 32 --steps 40   # radius ratios, a row a detector
    CE_DETECT_DATA=... python -m benchmarks.adaptive.hardened       # what hardening costs on ordinary attacks

Gates come from where ``benchmarks.detection`` left them. `bench` is what the rows share, `rows` are the rows, and
`attackable` makes targets of peers and ensembles. Results: ``results/``; `table` is the table of ``adaptive.py``.
"""
