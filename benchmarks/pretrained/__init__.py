"""What does a user find who puts a gate in front of a classifier that others trained?

    CE_DETECT_DATA=... python -m benchmarks.pretrained.pretrained --photographs FOLDER    # packages: see its help

Results: ``results/``, a file a classifier.
"""
