"""Attacks of ART 1.20.1, mended where they break, leak or crawl; each stands in for ART's class of the same name.

They work on estimators with pixels within known bounds and outputs for two classes or more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from art.attacks import evasion
from numpy.typing import NDArray
from scipy.ndimage import rotate, shift

from ce_detect.core.types import Floats, Index

_TOGETHER = 8
"""Distances that `SignOPTAttack` tries at once, each 1 % shorter than the one before."""


def _labels(estimator: Any, x: Floats) -> Index:
    return np.asarray(estimator.predict(x).argmax(1))


def _starts(
    estimator: Any, x: Floats, labels: Index, goals: Index | None, *, trials: int, others: bool
) -> tuple[Floats, NDArray[np.bool_]]:
    """Images that are adversarial already, from which a decision-based attack walks back to the clean ones.

    Uniform noise from the seeded generator, as often as it takes; with ``others``, or with goals, the nearest of the
    images that has another label (the goal) where noise never does.

    Returns:
        Starts like ``x``, and which of them are adversarial ``(n,)``.
    """
    low, high = estimator.clip_values
    starts, found = x.copy(), np.zeros(len(x), dtype=bool) if goals is None else labels == goals
    for _ in range(trials):
        rows = np.flatnonzero(~found)
        if not len(rows):
            break
        noise = np.random.uniform(low, high, (len(rows), *x.shape[1:])).astype(np.float32)
        drawn = _labels(estimator, noise)
        fooled = drawn != labels[rows] if goals is None else drawn == goals[rows]
        starts[rows[fooled]] = noise[fooled]
        found[rows[fooled]] = True
    for row in np.flatnonzero(~found) if others or goals is not None else ():
        fitting = np.flatnonzero(labels != labels[row] if goals is None else labels == goals[row])
        if len(fitting):
            distances = ((x[fitting] - x[row]) ** 2).sum((1, 2, 3))
            starts[row] = x[fitting[distances.argmin()]]
            found[row] = True
    return starts, found


def _walked(attack: Any, generate: Callable[..., Floats], x: Floats, y: Floats | None, *, others: bool) -> Floats:
    """Run a decision-based attack from our starts; images without one stay as they are."""
    labels, goals = _labels(attack.estimator, x), None if y is None else y.argmax(1)
    starts, found = _starts(attack.estimator, x, labels, goals, trials=attack.init_size, others=others)
    attacked = x.copy()
    if found.any():
        attacked[found] = generate(x[found], None if y is None else y[found], x_adv_init=starts[found])
    return attacked


class SquareAttack(evasion.SquareAttack):  # type: ignore[misc]
    """Takes images that are not square: the first squares that ART draws do not fit into them."""

    def _get_percentage_of_elements(self, i_iter: int) -> float:
        height, width = self.estimator.input_shape[1:]
        largest = (min(height, width) - 1) ** 2 / (height * width)
        return float(min(super()._get_percentage_of_elements(i_iter), largest))


class HopSkipJump(evasion.HopSkipJump):  # type: ignore[misc]
    """Starts are drawn from the seeded generator; ART takes them from the operating system, different every time."""

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        return _walked(self, super().generate, x, y, others=False)


class BoundaryAttack(evasion.BoundaryAttack):  # type: ignore[misc]
    """Starts as for `HopSkipJump`, and from other images where noise always gets the label of the image."""

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        return _walked(self, super().generate, x, y, others=True)


class GeoDA(evasion.GeoDA):  # type: ignore[misc]
    """Runs under NumPy 2, on images that are not square, and ends.

    ART needs the removed ``np.mat``, writes its basis into the current folder, searches a start for ever where noise
    never fools the classifier, and returns images that crossed the boundary no more. Its steps along the normal
    are absolute and overshoot small images; here they are parts of the longest way there is.
    """

    def __init__(self, estimator: Any, *, init_size: int, **settings: Any) -> None:
        try:
            super().__init__(estimator, **settings)
        except (IndexError, RecursionError) as error:
            raise ValueError(
                "ART finds no plan for so few queries: use a max_iter of 500 or more and a lambda_param of 0.4 to 1"
            ) from error
        self.init_size = init_size
        self.clip_min, self.clip_max = estimator.clip_values
        self.sub_basis = _cosines(self.sub_dim, *estimator.input_shape[1:])

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images."""
        labels = _labels(self.estimator, x)
        starts, found = _starts(self.estimator, x, labels, None, trials=self.init_size, others=True)
        attacked = x.copy()
        for row in np.flatnonzero(found):
            one_hot = np.eye(self.estimator.nb_classes, dtype=np.float32)[labels[[row]]]
            attacked[row] = self._nearest(x[[row]], one_hot, starts[[row]])[0]
        return attacked

    def _nearest(self, x: Floats, y: Floats, start: Floats) -> Floats:
        nearest: Floats = self._binary_search(x, y, start, tol=self.bin_search_tol)
        boundary = nearest
        normal = np.zeros_like(x)
        for queries in self.q_opt_iter[: self.iterate]:
            estimate, _ = self._black_grad_batch(boundary, queries, self.batch_size, y)
            normal = normal + estimate
            moved = self._go_to_boundary(x, y, normal)
            if not self._is_adversarial(moved, y):
                break
            boundary = self._binary_search(x, y, moved, tol=self.bin_search_tol)
            nearest = min(nearest, boundary, key=lambda image: float(np.linalg.norm(image - x)))
        return nearest

    def _go_to_boundary(self, x: Floats, y: Floats, grad: Floats) -> Floats:
        longest = (self.clip_max - self.clip_min) * np.sqrt(x.size)
        lengths = np.linspace(0, longest, 101, dtype=np.float32)[1:, None, None, None]
        along = np.clip(x + lengths * grad / max(float(np.linalg.norm(grad)), 1e-12), self.clip_min, self.clip_max)
        fooled = _labels(self.estimator, along) != y.argmax()
        nearest: Floats = along[[fooled.argmax()]]
        return nearest


def _cosines(count: int, height: int, width: int) -> Floats:
    """Lowest two-dimensional cosines, ``(height * width, count ** 2)``, orthonormal columns."""

    def waves(size: int) -> NDArray[np.float64]:
        frequency, position = np.arange(min(count, size))[:, None], np.arange(size)
        scale = np.where(frequency == 0, 1, 2) / size
        return np.asarray(np.sqrt(scale) * np.cos((2 * position + 1) * frequency * np.pi / (2 * size)))

    basis = np.einsum("uh,vw->hwuv", waves(height), waves(width))
    return np.asarray(basis.reshape(height * width, -1), dtype=np.float32)


class SignOPTAttack(evasion.SignOPTAttack):  # type: ignore[misc]
    """Asks for many images at once, takes two classes and images of any size, and finds targets in its own images.

    ART asks for one image at a time, follows directions that cannot be an improvement any more up to a distance of 20,
    which is where large images begin, and with targets searches the first boundary the wrong way round.
    """

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        labels, attacked = _labels(self.estimator, x), x.copy()
        goals = [None] * len(x) if y is None else y.argmax(1)
        for row, goal in enumerate(goals):
            if goal != labels[row]:
                known = {} if goal is None else {"target": goal, "x_init": x[labels == goal]}
                attacked[row] = self._attack(x[row], labels[row], **known)[0]
        return attacked

    def _reached(self, images: Floats, y_0: int, target: int | None) -> NDArray[np.bool_]:
        labels = _labels(self.estimator, np.clip(images, self.clip_min, self.clip_max))
        return np.asarray(labels != y_0 if target is None else labels == target)

    def _sign_grad(
        self, x_0: Floats, y_0: int, epsilon: float, theta: Floats, initial_lbd: float, target: int | None
    ) -> tuple[Floats, int]:
        directions = _normalised(np.random.randn(self.k, *theta.shape).astype(np.float32))
        reached = self._reached(x_0 + initial_lbd * _normalised(theta + epsilon * directions), y_0, target)
        return np.tensordot(np.where(reached, -1, 1) / self.k, directions, 1).astype(np.float32), self.k

    def _fine_grained_binary_search(
        self, x_0: Floats, y_0: int, theta: Floats, initial_lbd: float, current_best: float, target: int | None = None
    ) -> tuple[float, int]:
        high = min(initial_lbd, current_best)
        if not self._reached((x_0 + np.float32(high) * theta)[None], y_0, target)[0]:
            return float("inf"), 1
        high, queries = self._bisected(x_0, y_0, theta, 0.0, high, 1e-3, target)
        return high, queries + 1

    def _fine_grained_binary_search_local(
        self, x_0: Floats, y_0: int, theta: Floats, target: int | None = None, initial_lbd: float = 1.0,
        tol: float = 1e-5,
    ) -> tuple[float, int]:  # fmt: skip
        high, queries = initial_lbd, 0
        while True:
            distances = (high * 0.99 ** np.arange(_TOGETHER)).astype(np.float32)
            reached = self._reached(x_0 + distances[:, None, None, None] * theta, y_0, target)
            queries += _TOGETHER
            if not reached[0]:
                return float("inf"), queries
            if not reached.all():
                short = int(reached.argmin())
                break
            high = float(distances[-1])
        low, high = float(distances[short]), float(distances[short - 1])
        high, more = self._bisected(x_0, y_0, theta, low, high, tol, target)
        return high, queries + more

    def _bisected(
        self, x_0: Floats, y_0: int, theta: Floats, low: float, high: float, tol: float, target: int | None
    ) -> tuple[float, int]:
        queries = 0
        while high - low > tol:
            middle, queries = (low + high) / 2, queries + 1
            reached = self._reached((x_0 + np.float32(middle) * theta)[None], y_0, target)[0]
            low, high = (low, middle) if reached else (middle, high)
        return high, queries


def _normalised(directions: Floats) -> Floats:
    return np.asarray(directions / np.sqrt((directions**2).sum((1, 2, 3), keepdims=True)), dtype=np.float32)


class ZooAttack(evasion.ZooAttack):  # type: ignore[misc]
    """Coordinate descent on the whole batch, relative to the clean image, up as well as down.

    ART updates the first image of a batch alone, adds its noise anew in every step, clips the noise to the bounds of
    pixels (so that it cannot be negative), and resamples images with splines for every loss.
    """

    def _generate_batch(self, x_batch: Floats, y_batch: Floats) -> Floats:
        self._clean = x_batch
        self._current_noise = np.zeros_like(x_batch)
        return np.asarray(super()._generate_batch(x_batch, y_batch), dtype=np.float32)

    def _reset_adam(self, nb_vars: int, indices: NDArray[np.bool_] | None = None) -> None:
        super()._reset_adam(self._current_noise.size, indices)

    def _loss(self, x: Floats, x_adv: Floats, target: Floats, c_weight: Floats) -> tuple[Floats, Floats, Floats]:
        outputs = self.estimator.predict(x_adv)
        wanted = (outputs * target).sum(1)
        best_other = np.where(target > 0, -np.inf, outputs).max(1)
        behind = best_other - wanted if self.targeted else wanted - best_other
        distance = ((x_adv - x) ** 2).sum((1, 2, 3))
        return outputs, distance, c_weight * np.maximum(behind + self.confidence, 0) + distance

    def _optimizer(self, x: Floats, targets: Floats, c_batch: Floats) -> Floats:
        count, size = len(x), x[0].size
        parallel = min(self.nb_parallel, size)
        chosen = np.concatenate([np.random.choice(size, parallel, replace=False) for _ in range(count)])
        rows = np.arange(count * parallel)
        tried = np.repeat((self._clean + self._current_noise).reshape(count, size), 2 * parallel, axis=0)
        tried[2 * rows, chosen] += self.variable_h
        tried[2 * rows + 1, chosen] -= self.variable_h
        clean, goals, weights = (np.repeat(part, 2 * parallel, axis=0) for part in (self._clean, targets, c_batch))
        _, _, loss = self._loss(clean, tried.reshape(clean.shape), goals, weights)
        noise = self._optimizer_adam_coordinate(
            loss, chosen + size * (rows // parallel), self.adam_mean, self.adam_var, self._current_noise,
            self.learning_rate, self.adam_epochs, proj=False,
        )  # fmt: skip
        attacked = np.clip(self._clean + noise, *self.estimator.clip_values)
        self._current_noise = attacked - self._clean
        return np.asarray(attacked, dtype=np.float32)


class NewtonFool(evasion.NewtonFool):  # type: ignore[misc]
    """Keeps to the bounds in every step, ends where the label changes, and divides by small gradients too.

    ART clips at the end alone, which takes back what changed the label, and its floor under the gradient stops it on
    confident images.
    """

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images."""
        labels, attacked = _labels(self.estimator, x), x.copy()
        sizes = np.sqrt((x**2).sum((1, 2, 3)))
        left = np.arange(len(x))
        for _ in range(self.max_iter):
            outputs = self.estimator.predict(attacked[left])
            kept = outputs.argmax(1) == labels[left]
            left, outputs = left[kept], outputs[kept]
            if not len(left):
                break
            scores = outputs[np.arange(len(left)), labels[left]]
            slopes = self.estimator.class_gradient(attacked[left], label=labels[left])[:, 0]
            steepness = np.sqrt((slopes.astype(np.float64) ** 2).sum((1, 2, 3)))
            lengths = self._compute_theta(sizes[left], scores, steepness)
            step = np.divide(lengths, steepness**2, out=np.zeros_like(steepness), where=steepness > 0)
            moved = attacked[left] - step[:, None, None, None] * slopes
            attacked[left] = np.clip(moved, *self.estimator.clip_values)
        return attacked


class UniversalPerturbation(evasion.UniversalPerturbation):  # type: ignore[misc]
    """With targets, ART's `TargetedUniversalPerturbation`; its steps are made by DeepFool without progress bars."""

    def __init__(self, classifier: Any, *, targeted: bool, **settings: Any) -> None:
        super().__init__(classifier, **settings)
        self.towards = targeted

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        if y is None:
            return np.asarray(super().generate(x))
        steps = {"targeted": True, "eps": self.eps}
        targeted = evasion.TargetedUniversalPerturbation(
            self.estimator, attacker_params=steps, delta=self.delta, max_iter=self.max_iter, eps=self.eps
        )
        return np.asarray(targeted.generate(x, y))

    def _get_attack(self, a_name: str, params: dict[str, Any] | None = None) -> Any:
        gradients = min(10, self.estimator.nb_classes)
        return evasion.DeepFool(self.estimator, max_iter=20, epsilon=0.02, nb_grads=gradients, verbose=False)


class AdversarialPatchNumpy(evasion.AdversarialPatchNumpy):  # type: ignore[misc]
    """Returns attacked images rather than the patch, and also without a target; ART's other patch needs torchvision."""

    def __init__(self, classifier: Any, *, targeted: bool, **settings: Any) -> None:
        super().__init__(classifier, targeted=True, **settings)
        if not targeted:
            self.learning_rate *= -1

    def reset_patch(self, initial_patch_value: float) -> None:
        """Fill the patch with one value; ART takes no NumPy scalars, and passes one."""
        super().reset_patch(float(initial_patch_value))

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return images under one patch, each at a place, an angle and a scale of its own."""
        super().generate(x, _labels(self.estimator, x) if y is None else y)
        return np.asarray(self.apply_patch(x, scale=None))


class SpatialTransformation(evasion.SpatialTransformation):  # type: ignore[misc]
    """For each image the mildest of the movements that changes its label; images that none of them changes stay.

    ART takes one movement for all images, and takes the number of channels for the height.
    """

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images."""
        labels, attacked = _labels(self.estimator, x), x.copy()
        left = np.arange(len(x))
        for movement in self._movements(*x.shape[2:]):
            if not len(left):
                break
            moved = self._perturb(x[left], *movement)
            fooled = _labels(self.estimator, moved) != labels[left]
            attacked[left[fooled]] = moved[fooled]
            left = left[~fooled]
        return attacked

    def _movements(self, height: int, width: int) -> list[tuple[float, float, float]]:
        """Pixels down, pixels to the right and degrees, the mildest first."""
        grid = [
            (round(down * self.max_translation / 100 * height), round(right * self.max_translation / 100 * width), turn)
            for down in np.linspace(-1, 1, self.num_translations)
            for right in np.linspace(-1, 1, self.num_translations)
            for turn in np.linspace(-self.max_rotation, self.max_rotation, self.num_rotations)
        ]

        def size(movement: tuple[float, float, float]) -> float:
            down, right, turn = movement
            return (down / height) ** 2 + (right / width) ** 2 + (turn / 180) ** 2

        return sorted(dict.fromkeys(grid), key=size)

    def _perturb(self, x: Floats, trans_x: float, trans_y: float, rot: float) -> Floats:
        moved = shift(x, (0, 0, trans_x, trans_y), order=1)
        return np.asarray(np.clip(rotate(moved, rot, axes=(3, 2), reshape=False, order=1), *self.estimator.clip_values))


class AutoAttack:
    """APGD on two losses, DeepFool and Square, each on the images that withstood those before it.

    ART's own class needs the undeclared package ``multiprocess``, fails for two classes, and takes hours with the
    settings it fixes. With targets it is APGD alone: the other two cannot be aimed.
    """

    def __init__(
        self, estimator: Any, *, eps: float, eps_step: float, max_iter: int, square_iter: int, targeted: bool,
        batch_size: int,
    ) -> None:  # fmt: skip
        self.estimator, self.eps, self.targeted = estimator, eps, targeted
        common: Any = {"batch_size": batch_size, "verbose": False}
        losses = ("cross_entropy", "difference_logits_ratio")[: 2 if estimator.nb_classes > 2 else 1]
        self.parts = [
            evasion.AutoProjectedGradientDescent(
                estimator, eps=eps, eps_step=eps_step, max_iter=max_iter, nb_random_init=1, loss_type=loss,
                targeted=targeted, **common,
            )
            for loss in losses
        ]  # fmt: skip
        if not targeted:
            gradients = min(10, estimator.nb_classes)
            self.parts += [
                evasion.DeepFool(estimator, max_iter=max_iter, epsilon=0.02, nb_grads=gradients, **common),
                SquareAttack(estimator, eps=eps, max_iter=square_iter, p_init=0.8, **common),
            ]

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        wanted = _labels(self.estimator, x) if y is None else y.argmax(1)
        attacked, left = x.copy(), np.arange(len(x))
        for part in self.parts:
            if not len(left):
                break
            moved = part.generate(x=x[left], y=None if y is None else y[left])
            labels = _labels(self.estimator, moved)
            changed = labels == wanted[left] if self.targeted else labels != wanted[left]
            within = np.abs(moved - x[left]).max((1, 2, 3)) <= self.eps * (1 + 1e-4)
            attacked[left[changed & within]] = moved[changed & within]
            left = left[~(changed & within)]
        return attacked
