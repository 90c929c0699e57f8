"""How soon does the monitor see a campaign in a stream of verdicts, and how often does it cry wolf?

    CE_DETECT_DATA=... python -m benchmarks.campaigns.scores      # one real gate, its scores: once
    CE_DETECT_DATA=... python -m benchmarks.campaigns.campaigns   # streams made of them

`scores` calibrates a gate on Fashion-MNIST and keeps its scores of clean, naturally changed and attacked images;
`campaigns` draws streams from them and runs the monitor beside the tests that people use today.
"""
