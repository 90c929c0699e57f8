"""Train the benchmarks' pneumonia classifier and write its weights.

Reads ``pneumoniamnist.npz`` from ``CE_DETECT_DATA``. The first 1,500 training images train; the others are left for
calibration, because a detector must be calibrated on images that the classifier was not trained on. A minute::

    CE_DETECT_DATA=... python -m benchmarks.subjects.train_pneumonia
"""

from __future__ import annotations

import argparse

import safetensors.torch
import torch
from torch.nn.functional import cross_entropy

from benchmarks.face import atomic
from benchmarks.subjects.images import PNEUMONIA_TRAINED, data_folder
from benchmarks.subjects.networks import WEIGHTS, pneumonia_architecture
from benchmarks.subjects.train_demo import accuracy, augment
from ce_detect import load_data

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # repeats exactly
    parts = {
        name: load_data(str(data_folder() / "pneumoniamnist.npz"), split=name) for name in ("train", "val", "test")
    }
    train = parts["train"]
    x, y = torch.from_numpy(train.x[:PNEUMONIA_TRAINED]), torch.from_numpy(train.y[:PNEUMONIA_TRAINED])
    model = pneumonia_architecture().train()
    steps = options.epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = cross_entropy(model(augment(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    WEIGHTS.mkdir(exist_ok=True)
    atomic.write(WEIGHTS / "pneumonia_cnn.safetensors", safetensors.torch.save(model.state_dict()))
    for name in ("val", "test"):
        found = accuracy(model, torch.from_numpy(parts[name].x), torch.from_numpy(parts[name].y))
        print(f"{name} accuracy {found:.4f} over {len(parts[name]):,} images")


if __name__ == "__main__":
    main()
