"""Train the embedded demo classifier and write both of its asset files.

Reads the four files of the Debian package ``dataset-fashion-mnist``; trains on the official training split only, and
prints the accuracy over all 10,000 images of the official test split. About four minutes on one core::

    python -m benchmarks.subjects.train_demo

With ``--light`` it trains on from there, on images in other light, and writes the classifier that ``ce-detect demo``
shows: the first one changes its decision for a quarter of the images when their contrast changes a little.
"""

from __future__ import annotations

import argparse
import io
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import ce_detect
from benchmarks.face import FashionCNN, atomic, fashion_cnn
from benchmarks.subjects.images import FASHION, idx_split

ASSETS = Path(ce_detect.__path__[0]) / "demo" / "assets"
BATCH = 128
SHIFT = 1  # pixels, each way, in augmentation
PACKAGED = 2_000  # test images shipped in the wheel
LIGHT_EPOCHS = 1
RATE, LIGHT_RATE = 1e-2, 3e-3  # the largest of the schedule


def main() -> None:
    options = parse()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    x, y = pixels_and_labels(options.data, "train")
    x_test, y_test = pixels_and_labels(options.data, "t10k")
    started = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.light:
        options.epochs = LIGHT_EPOCHS
        model = train(
            fashion_cnn(), x, y, epochs=LIGHT_EPOCHS, rate=LIGHT_RATE, change=lambda b: other_light(augment(b))
        )
        halves = {name: v.half() if v.is_floating_point() else v for name, v in model.state_dict().items()}
        atomic.write(options.out / "fashion_cnn_light.safetensors", safetensors.torch.save(halves))
    else:
        model = train(FashionCNN(), x, y, epochs=options.epochs)
        atomic.write(options.out / "fashion_cnn.safetensors", safetensors.torch.save(model.state_dict()))
        atomic.write(options.out / "fashion_images.npz", packed(options.data))
    seconds = time.perf_counter() - started
    print(f"test accuracy {accuracy(model, x_test, y_test):.4f} over {len(y_test):,} images")
    print(f"{options.epochs} epochs in {seconds:.0f} s, seed {options.seed}, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}; wrote {options.out}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=FASHION, help="folder of the four .gz files (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--light", action="store_true", help="train the packaged classifier on, in other light")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (default: %(default)s, which repeats exactly)"
    )
    options = parser.parse_args()
    if not (options.data / "train-images-idx3-ubyte.gz").is_file():
        parser.error(
            f"no Fashion-MNIST in {options.data}; install it (apt install dataset-fashion-mnist), "
            "or name with --data a folder of the four .gz files of github.com/zalandoresearch/fashion-mnist"
        )
    return options


def pixels_and_labels(data: Path, name: str) -> tuple[Tensor, Tensor]:
    images, labels = idx_split(data, name)
    return torch.from_numpy(images.astype(np.float32) / 255)[:, None], torch.from_numpy(labels.astype(np.int64))


def packed(data: Path) -> bytes:
    images, labels = idx_split(data, "t10k")
    file = io.BytesIO()
    np.savez_compressed(file, x=images[:PACKAGED], y=labels[:PACKAGED])
    return file.getvalue()


def train(
    model: FashionCNN, x: Tensor, y: Tensor, *, epochs: int, rate: float = RATE,
    change: Callable[[Tensor], Tensor] | None = None,
) -> FashionCNN:  # fmt: skip
    model = model.train().to(memory_format=torch.channels_last)
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = cross_entropy(model((change or augment)(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: mean loss {total / (len(x) // BATCH):.4f}", flush=True)
    return model.eval().to(memory_format=torch.contiguous_format)


def augment(x: Tensor) -> Tensor:
    """Shift each image by up to ``SHIFT`` pixels and flip half of them left to right."""
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (SHIFT,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    rows, columns = torch.randint(0, 2 * SHIFT + 1, (2, n))
    shifted = windows[torch.arange(n), :, rows, columns]
    return torch.where(torch.rand(n, 1, 1, 1) < 0.5, shifted.flip(3), shifted)


def other_light(x: Tensor) -> Tensor:
    """Augment, then change contrast, brightness and noise of each image, each as it is drawn for it."""
    x, n = augment(x), len(x)
    factor = torch.empty(n, 1, 1, 1).uniform_(0.5, 1.3)
    shift = torch.empty(n, 1, 1, 1).uniform_(-0.12, 0.12)
    noise = torch.randn_like(x) * torch.empty(n, 1, 1, 1).uniform_(0, 0.04)
    mean = x.mean((2, 3), keepdim=True)
    return (mean + factor * (x - mean) + shift + noise).clamp(0, 1)


@torch.inference_mode()
def accuracy(model: FashionCNN, x: Tensor, y: Tensor) -> float:
    labels = torch.cat([model(batch).argmax(1) for batch in x.split(500)])
    return float((labels == y).double().mean())


if __name__ == "__main__":
    main()
