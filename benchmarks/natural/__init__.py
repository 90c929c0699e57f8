"""How many clean images are flagged after natural change, and which attacks are found after it?

    CE_DETECT_DATA=... python -m benchmarks.natural.natural    # false alarms by kind of change, and controls
    CE_DETECT_DATA=... python -m benchmarks.natural.treated    # attacks that were saved, scaled or touched up
    CE_DETECT_DATA=... python -m benchmarks.natural.on_purpose # an attacker who attacks through a JPEG or a resize
    CE_DETECT_DATA=... python -m benchmarks.natural.ablation   # which part of the evidence is causal

Half of the kinds of change never serve calibration. Gates come from ``benchmarks.detection.detection``, or are made;
attacked images come from the cache, or are made. Results: ``results/<program>-<subject>.json``; `table` has the tables.
"""
