"""What is measured, and with which settings.

- `subjects`: a classifier with the images that calibrate it, those that are judged, and their attacks
- `networks`, `images`: the classifiers and the images themselves; ``weights/`` holds what was trained here
- `settings`: seed, false-positive rate, budgets and batch sizes of every program

    python -m benchmarks.subjects.train_demo                               # the classifier that the package ships
    CE_DETECT_DATA=... python -m benchmarks.subjects.train_pneumonia       # the one of PneumoniaMNIST
    CE_DETECT_DATA=... python -m benchmarks.subjects.train_vit             # the transformer of CIFAR-10
"""
