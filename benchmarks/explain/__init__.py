"""Which method of explanation says best what counts for a decision, and at what time?

    CE_DETECT_DATA=... python -m benchmarks.explain.explain    # every method: games, class distortion, overlap, sanity
    CE_DETECT_DATA=... python -m benchmarks.explain.attacked   # maps before and after an attack that keeps the label
    CE_DETECT_DATA=... python -m benchmarks.explain.windows    # what was tried for our own map
    CE_DETECT_DATA=... python -m benchmarks.explain.picture    # the figure: maps before and after, side by side
    CE_DETECT_DATA=... python -m benchmarks.explain.cracks     # train the crack classifier, on labels of patches alone

Results: ``results/<program>-<subject>.json``; `table` has the tables.
"""
