"""How many attacked images are found, at what budget, and is the promise about clean ones kept?

    CE_DETECT_DATA=... python -m benchmarks.detection.detection --suite full   # every subject, budget and attack
    CE_DETECT_DATA=... python -m benchmarks.detection.cascade         # a gate that clears most clean inputs early
    CE_DETECT_DATA=... python -m benchmarks.detection.interventions   # what each family of interventions is worth
    CE_DETECT_DATA=... python -m benchmarks.detection.guarantee       # 50 redraws of the images that set the threshold

``detection.py`` comes first: it leaves attacked images and calibrated gates in the cache, which most programs of the
other rooms start from. `measures` holds its figures, `picture` and `table` what the docs show. Results: ``results/``.
"""
