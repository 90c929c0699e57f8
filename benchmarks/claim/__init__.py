"""Do causal effects of attacked inputs differ from clean ones, from natural change, and from the same noise shuffled?

    CE_DETECT_DATA=... python -m benchmarks.claim.claim      # effects of every version of an image
    python -m benchmarks.claim.picture                       # the figure of the claim page, from the results

The first paper (Yang et al. 2019, arXiv 1902.03380) says so and tests nothing. `versions` makes the versions of an
image, `interventions` says what is done to each, `findings` corrects for the number of tests, and `table` has the
tables. Results: ``results/claim-<subject>.json``.
"""
