"""Which public architectures can be taken, and how well?

    pip install torchvision timm transformers        # what is not there is left out
    python -m benchmarks.zoo.zoo --code CLONES       # one table; resumable; a few seconds a model

Results: ``results/``.
"""
