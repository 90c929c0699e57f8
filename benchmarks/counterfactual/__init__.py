"""Do counterfactuals find what makes a class, and does a classifier that knows a fake withstand and doubt better?

    CE_DETECT_DATA=... python -m benchmarks.counterfactual.masks        # masks of cracks against marked pixels
    CE_DETECT_DATA=... python -m benchmarks.counterfactual.resilience   # accuracy under attack, four kinds of training
    CE_DETECT_DATA=... python -m benchmarks.counterfactual.uncertainty  # fakeness as doubt, and against attacks
    CE_DETECT_DATA=... python -m benchmarks.counterfactual.signature    # what both add to a detector's signature

Each trains what it needs, and goes on where it was stopped. Results: ``results/<program>-<subject>.json``.
"""
