"""How do methods from the literature do on the same images, attacks and splits, at the same false-positive rate?

    CE_DETECT_DATA=... python -m benchmarks.peers.compare                              # what is missing
    CE_DETECT_DATA=... python -m benchmarks.peers.compare --only fashion --peers rlt lid --again
    CE_DETECT_DATA=... python -m benchmarks.peers.natural   # the best of them on natural change and saved attacks

Needs attacked images and gates that ``benchmarks.detection.detection`` left. A peer is a file in `methods` that fits
`protocol`; `arena` is what all are taught and judged on, `ours` our gates as peers, `judged`, `standings` and `picture`
turn scores into figures. Results: ``results/compare.md`` and a file a subject and method; `table` is for the docs.
"""
