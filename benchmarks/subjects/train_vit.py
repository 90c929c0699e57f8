"""Train the benchmarks' vision transformer for CIFAR-10 and write its weights.

Reads ``cifar10.npz`` and the public ResNet-32 from ``CE_DETECT_DATA``. 8,000 training images are few for a transformer.
So it learns what ResNet-32 says of them, shifted and flipped anew each time (Beyer et al. 2022, "Knowledge
distillation: a good teacher is patient and consistent"). The test images serve for nothing but the accuracy that is
printed::

    CE_DETECT_DATA=... python -m benchmarks.subjects.train_vit
"""

from __future__ import annotations

import argparse
import time

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.face import atomic
from benchmarks.subjects.images import cifar10, cifar10_training
from benchmarks.subjects.networks import WEIGHTS, CifarResNet, CifarViT, cifar10_resnet32
from benchmarks.subjects.train_demo import accuracy

BATCH, SHIFT, TEMPERATURE, RATE = 64, 4, 2.0, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # repeats exactly
    x = torch.from_numpy(cifar10_training())
    student, teacher = (
        model.to(memory_format=torch.channels_last) for model in (CifarViT().train(), cifar10_resnet32())
    )
    print(f"{sum(parameter.numel() for parameter in student.parameters()):,} parameters", flush=True)
    steps = options.epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=0.1)
    began = time.perf_counter()
    for epoch in range(options.epochs):
        total = 0.0
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = distilled(student, teacher, augmented(x[rows]))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total * BATCH / len(x):.4f}, {time.perf_counter() - began:.0f} s", flush=True)
    WEIGHTS.mkdir(exist_ok=True)
    student.eval().to(memory_format=torch.contiguous_format)
    atomic.write(WEIGHTS / "cifar10_vit.safetensors", safetensors.torch.save(student.state_dict()))
    images, labels = (torch.from_numpy(array) for array in cifar10())
    for name, model in (("transformer", student), ("ResNet-32", teacher)):
        print(f"{name}: test accuracy {accuracy(model, images, labels):.4f} over {len(images):,} images")


def distilled(student: CifarViT, teacher: CifarResNet, x: Tensor) -> Tensor:
    """Divergence of the student's softmax from the teacher's, both softened."""
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # the fused backward is slower
        with torch.no_grad():
            wanted = teacher(x).float() / TEMPERATURE
        found = student(x).float() / TEMPERATURE
    return TEMPERATURE**2 * F.kl_div(found.log_softmax(1), wanted.softmax(1), reduction="batchmean")


def augmented(x: Tensor) -> Tensor:
    """Shift each image by up to `SHIFT` pixels, flip half of them, and change brightness and contrast."""
    n, _, height, width = x.shape
    windows = F.pad(x, (SHIFT,) * 4, mode="reflect").unfold(2, height, 1).unfold(3, width, 1)
    rows, columns = torch.randint(0, 2 * SHIFT + 1, (2, n))
    shifted = windows[torch.arange(n), :, rows, columns]
    turned = torch.where(torch.rand(n, 1, 1, 1) < 0.5, shifted.flip(3), shifted)
    middle = turned.mean((1, 2, 3), keepdim=True)
    contrast, brightness = torch.empty(2, n, 1, 1, 1).uniform_(-0.3, 0.3)
    return ((turned - middle) * (1 + contrast) + middle * (1 + brightness)).clamp(0, 1)


if __name__ == "__main__":
    main()
