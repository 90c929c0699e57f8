"""Every kind of intervention, at the input, on feature maps and on tokens: the claims of its metadata and docstring."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.classifiers.log_odds import log_odds
from ce_detect.core.errors import ArtifactError, CalibrationError, UsageError
from ce_detect.interventions import Intervention, LearnedIntervention, from_spec, kinds
from ce_detect.interventions.base import Family, Range, shape_of

CHANGES: dict[str, list[dict[str, int | float | str | bool]]] = {
    "BitDepth": [{"scale": 0.75}],
    "Downscale": [{"restore": True}, {"scale": 0.5}],
    "Flip": [{"scale": 0.75}],
    "AblateConcept": [{"size": 1}],
    "DropTokens": [{"draws": 3, "keep": 0.2, "spared": 0}],
    "GaussianNoise": [{"draws": 3, "sigma": 0.1}, {"side": 5}, {"side": 2, "relative": True}],
    "GradientStep": [{"toward": True, "norm": "l2"}],
    "LearnedMask": [{"draws": 3}],
    "GridMask": [{"cells": 3, "baseline": "blur"}, {"reverse": True, "baseline": "noise"}],
    "Median": [{"size": 2}],
    "Pool": [{"mode": "max"}, {"size": 3}],
    "RandomMask": [{"draws": 3, "baseline": "blur"}, {"reverse": True, "baseline": "noise"}],
    "Shift": [{"dx": -2, "dy": 3}, {"scale": 0.5}],
}
"""Settings worth trying beside the default ones."""


@dataclass(frozen=True)
class Case:
    """An intervention and the tensor that it is tried on."""

    spec: dict[str, int | float | str | bool]
    h: Tensor

    def make(self) -> Intervention:
        """A new intervention from the specification, with a classifier to ask or a start of learning if need be."""
        made = from_spec(self.spec)
        if isinstance(made, LearnedIntervention):
            with torch.no_grad():
                made.start(self.h, torch.Generator().manual_seed(0))
        if made.needs_resume:
            made.forward = partial(made.forward, resume=small_network)  # type: ignore[method-assign]
        return made


def small_network(h: Tensor) -> Tensor:
    """Logits ``(rows, 4)`` of a tensor of any shape: two layers with fixed weights."""
    flat = h.flatten(1)
    generator = torch.Generator().manual_seed(7)
    first = torch.randn(flat.shape[1], 16, generator=generator) / flat.shape[1] ** 0.5
    return torch.tanh(flat @ first) @ torch.randn(16, 4, generator=generator)


def pixels() -> Tensor:
    """Seven colour images in [0, 1], of odd and unequal sides, of which one is constant."""
    generator = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(7, 3, 5, 5, generator=generator), size=(13, 11))
    images[3] = 0.25
    return images


def feature_map() -> Tensor:
    """Latents of four channels of both signs, some far from the others in scale, some of them zero."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(7, 4, 6, 5, generator=generator) * torch.logspace(-2, 2, 7).view(-1, 1, 1, 1)
    h[2, 1] = 0
    return h


def tokens() -> Tensor:
    """Sequences of ten tokens of four channels, of both signs and of different scales."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(7, 10, 4, generator=generator) * torch.logspace(-1, 1, 7).view(-1, 1, 1)


def _settings(kind: str, h: Tensor) -> dict[str, int | str]:
    """What a kind must know of the tensor that it is used on."""
    channels = h.shape[1] if h.ndim == 4 else h.shape[2]
    known: dict[str, int | str] = {
        "shape": "x".join(str(side) for side in h.shape[1:]), "channels": channels, "count": h.shape[1], "concepts": 3,
    }  # fmt: skip
    return {key: value for key, value in known.items() if key in inspect.signature(kinds()[kind].__init__).parameters}


def _cases() -> list[object]:
    cases = []
    for kind, cls in kinds().items():
        at_input = inspect.signature(cls.__init__).parameters["site"].default == INPUT
        places = [(INPUT, pixels())] if at_input else []
        places += [("layer", feature_map())] if cls.latents else []
        places += [("blocks", tokens())] if cls.tokens else []
        for changes in [{}, *CHANGES.get(kind, [])]:
            for site, h in places:
                spec = {"kind": kind, "site": site, **_settings(kind, h), **changes}
                cases.append(pytest.param(Case(spec, h), id=from_spec(spec).name))
    return cases


CASES = _cases()
every_case = pytest.mark.parametrize("case", CASES)
every_kind = pytest.mark.parametrize("kind", sorted(kinds()))
every_tried_kind = pytest.mark.parametrize("kind", sorted(set(kinds()) - {"RobustCopy"}))
"""All but what is made of a classifier, which `test_hardened_copy` tries."""


def by_draw(case: Case, out: Tensor) -> Tensor:
    """Output as ``(draws, batch, ...)``."""
    return out.unflatten(0, (case.make().draws, len(case.h)))


# --- what holds for all


@every_case
def test_output_has_a_row_for_every_draw_of_every_input(case: Case) -> None:
    """The output is ``draws * batch`` rows, finite, of the input's type and channels, and the input is left alone."""
    before = case.h.clone()
    out = case.make()(case.h)
    assert out.shape[:2] == (case.make().draws * len(case.h), case.h.shape[1])
    assert out.ndim == case.h.ndim
    assert out.dtype == case.h.dtype
    assert torch.isfinite(out).all()
    assert torch.equal(case.h, before)


@every_case
def test_batch_of_one_equals_a_row(case: Case) -> None:
    """An input is changed in the same way whatever company it has; rows of the output are draw-major."""
    out = by_draw(case, case.make()(case.h))
    for row in (0, 3, 6):
        alone = case.make()(case.h[row : row + 1])
        torch.testing.assert_close(alone, out[:, row], rtol=1e-5, atol=2e-5)


@every_case
def test_permuting_the_batch_permutes_the_output(case: Case) -> None:
    """Order among the inputs does not matter."""
    order = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    out = by_draw(case, case.make()(case.h))
    permuted = by_draw(case, case.make()(case.h[order]))
    torch.testing.assert_close(permuted, out[:, order], rtol=1e-5, atol=1e-6)


@every_case
def test_specification_makes_it_again(case: Case) -> None:
    """Specification and state are all there is: what is made from them has the same name and does the same."""
    first = case.make()
    second = from_spec(first.spec())
    second.load_state_dict(first.state_dict())
    if second.needs_resume:
        second.forward = partial(second.forward, resume=small_network)  # type: ignore[method-assign]
    assert second.name == first.name
    assert second.spec() == first.spec()
    assert second.site == case.spec["site"]
    assert all(isinstance(value, int | float | str | bool) for value in first.spec().values())
    assert torch.equal(first(case.h), second(case.h))


@every_case
def test_gradients_reach_every_input(case: Case) -> None:
    """The gradient of the output with respect to each input is finite and not zero."""
    h = case.h.clone().requires_grad_(True)
    weights = torch.rand(case.make()(case.h).shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((case.make()(h) * weights).sum(), h)
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).abs().sum(1).gt(0).all()


@every_case
def test_something_is_done(case: Case) -> None:
    """The output differs from the input, in size or in value."""
    out = case.make()(case.h)
    repeated = torch.cat([case.h] * case.make().draws)
    assert out.shape != repeated.shape or not torch.allclose(out, repeated)


@pytest.mark.parametrize("case", [c for c in CASES if c.values[0].spec["site"] == INPUT])
def test_pixels_stay_within_bounds(case: Case) -> None:
    """Images within the bounds stay within them, but for noise, which is added as it is."""
    if case.make().family == "noise":
        return
    out = case.make()(case.h)
    assert float(out.min()) >= -1e-6
    assert float(out.max()) <= 1 + 1e-6


@every_case
def test_a_map_of_one_cell_stays_finite(case: Case) -> None:
    """Latents of a single position, as after global pooling, give no NaN where the size allows the intervention."""
    h = case.h[..., :1, :1] if case.h.ndim == 4 else case.h[:, :2]
    alone = Case({**case.spec, **_settings(str(case.spec["kind"]), h)}, h)
    if case.spec["kind"] == "Pool":  # a block does not fit
        with pytest.raises(RuntimeError, match="too small"):
            alone.make()(alone.h)
        return
    assert torch.isfinite(alone.make()(alone.h)).all()


@every_kind
def test_claims_are_stated(kind: str) -> None:
    """Each kind says its family and has a docstring; one that takes a seed says that it is random, and no other."""
    cls = kinds()[kind]
    assert cls.family in get_args(Family)
    assert all(isinstance(getattr(cls, claim), bool) for claim in ("label_preserving", "deterministic", "exportable"))
    assert cls.__doc__
    takes_seed_for_draws = {"seed", "draws"} <= set(inspect.signature(cls.__init__).parameters)
    assert cls.deterministic != takes_seed_for_draws


def test_what_takes_content_away_does_not_claim_to_keep_the_label() -> None:
    """Masks and ablations may hide what a label rests on; all others leave a clean image recognisable."""
    changing = {kind for kind, cls in kinds().items() if not cls.label_preserving}
    assert changing == {
        "GridMask", "RandomMask", "Scale", "AblateChannels", "AblateConcept", "DropTokens", "LearnedMask",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of PyTorch's exporter itself
@every_tried_kind
def test_exportable_kinds_can_be_exported(kind: str) -> None:
    """What claims to be exportable becomes an ONNX graph that takes any batch and gives the same output."""
    case = next(param.values[0] for param in reversed(CASES) if param.values[0].spec["kind"] == kind)
    if not case.make().exportable:
        return
    program = torch.export.export(case.make(), (case.h,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False)
    out = program.module()(case.h[:3])
    torch.testing.assert_close(out, case.make()(case.h[:3]), rtol=1e-5, atol=1e-5)
    made = torch.onnx.export(program, optimize=False, verbose=False, opset_version=20)
    assert made is not None
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    (name,) = [one.name for one in session.get_inputs()]
    (run,) = session.run(None, {name: case.h[:3].numpy()})
    np.testing.assert_allclose(run, out.numpy(), rtol=1e-4, atol=1e-4)


@every_case
def test_seed_matters_where_something_is_drawn(case: Case) -> None:
    """Another seed changes the output of a random intervention, and of no other that has no noise as baseline."""
    if "seed" not in inspect.signature(kinds()[str(case.spec["kind"])].__init__).parameters:
        with pytest.raises(CalibrationError, match="no setting 'seed'"):
            from_spec({**case.spec, "seed": 1})
        return
    same = torch.equal(from_spec({**case.spec, "seed": 1})(case.h), case.make()(case.h))
    draws_noise = case.spec.get("baseline") == "noise"
    assert same == (case.make().deterministic and not draws_noise)


@every_kind
def test_unknown_setting_names_the_known_ones(kind: str) -> None:
    """A setting that the kind does not take is refused, and the error lists those that it takes."""
    with pytest.raises(CalibrationError, match=rf"'{kind}' has no setting 'vigour'; it has: .*site"):
        from_spec({"kind": kind, "site": "layer", "vigour": 1.0})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "Sharpen"}, r"no intervention 'Sharpen'; there are: AblateChannels, .*Zoom"),
        ({"kind": "Scale", "factor": 0.5}, "'Scale' cannot be made .*'site'"),
        ({"kind": "GridMask", "baseline": "fog"}, "baseline = 'fog' of GridMask is not one of mean, blur, noise"),
        ({"kind": "RandomMask", "baseline": 3}, "baseline = 3 of RandomMask is not one of"),
        ({"kind": "GridMask", "cells": "two"}, "cells = 'two' of GridMask is not a whole number at least 1"),
        ({"kind": "GridMask", "cells": 0}, "cells = 0 of GridMask is not a whole number at least 1"),
        ({"kind": "Blur", "sigma": 0}, "sigma = 0 of Blur is not a finite number above 0"),
        ({"kind": "Pool", "size": 0}, "size = 0 of Pool is not a whole number at least 2"),
        ({"kind": "Pool", "mode": "median"}, "mode = 'median' of Pool is not one of mean, max"),
        ({"kind": "RandomMask", "keep": 1.5}, "keep = 1.5 of RandomMask is not .* at least 0 and at most 1"),
        ({"kind": "Shift", "dx": 0.5}, "dx = 0.5 of Shift is not a whole number"),
        ({"kind": "Zoom", "factor": float("nan")}, "factor = nan of Zoom is not a finite number above 0"),
        ({"kind": "BitDepth", "low": 1.0, "high": 0.0}, "low = 1.0 of BitDepth is not below high = 0.0"),
        ({"kind": "LearnedMask", "shape": "3x"}, "shape = '3x' is not 'channels x height x width'"),
        ({"kind": "AblateConcept", "site": "a", "channels": 2, "concepts": 3}, "more than the 2 channels"),
    ],
)
def test_senseless_specification_is_a_calibration_error(spec: dict[str, object], message: str) -> None:
    """The error names the kind, what was wrong with it and what there is."""
    with pytest.raises(CalibrationError, match=message):
        from_spec(spec)


def test_specification_without_a_kind_is_an_artifact_error() -> None:
    """Only a damaged artifact has interventions without a kind."""
    with pytest.raises(ArtifactError, match="without a kind"):
        from_spec({"site": INPUT})


@every_tried_kind
def test_every_setting_has_a_range(kind: str) -> None:
    """A setting is a number that is checked, one of a few values, or a shape that is read; nothing passes unseen."""
    cls = kinds()[kind]
    case = next(param.values[0] for param in CASES if param.values[0].spec["kind"] == kind)
    for setting, value in case.make().settings.items():
        wrong = "nonsense" if setting == "shape" else float("nan")
        with pytest.raises(CalibrationError, match=setting):
            from_spec({**case.spec, setting: wrong})
        for outside in _outside(cls.ranges.get(setting)):
            with pytest.raises(CalibrationError, match=f"{setting} = .* of {kind} is not"):
                from_spec({**case.spec, setting: outside})
        assert isinstance(value, int | float | str | bool)


def _outside(allowed: Range | tuple[object, ...] | None) -> list[object]:
    """Values just outside a range."""
    if not isinstance(allowed, Range):
        return ["nonsense"] if allowed else []
    found: list[object] = [allowed.least if allowed.above else allowed.least - 1, allowed.largest + 1, "1", True]
    found += [0.5] if allowed.whole else []
    return found


@pytest.mark.parametrize("text", ["", "3", "3x0", "3x-1", "axb", "1x2x3x4"])
def test_shapes_that_are_none(text: str) -> None:
    """Two or three whole numbers above 0, and the error says what to write."""
    with pytest.raises(CalibrationError, match="64x8x8"):
        shape_of(text)
    assert shape_of("64x8x9") == (64, 8, 9)


# --- what holds for one


@pytest.mark.parametrize("kind", ["GridMask", "RandomMask"])
@pytest.mark.parametrize("h", [pixels(), feature_map()], ids=["pixels", "latents"])
def test_mask_and_its_reverse_add_up(kind: str, h: Tensor) -> None:
    """What a mask hides, its reverse shows: with the mean as baseline the two add up to the tensor and its mean."""
    shown = from_spec({"kind": kind, "site": "layer"})(h)
    hidden = from_spec({"kind": kind, "site": "layer", "reverse": True})(h)
    whole = h + h.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(shown + hidden, whole.repeat(len(shown) // len(h), 1, 1, 1), rtol=1e-5, atol=1e-5)


def test_grid_mask_hides_one_cell_at_a_time() -> None:
    """Each draw puts the mean in one cell and leaves the rest; over the draws every pixel is hidden once."""
    h = pixels()[:, :, :12, :10]
    out = from_spec({"kind": "GridMask", "cells": 2})(h).unflatten(0, (4, 7))
    mean = h.mean(dim=(2, 3), keepdim=True)
    hidden = torch.isclose(out, mean.expand_as(out)) & ~torch.isclose(h, mean.expand_as(h))
    kept = torch.isclose(out, h.expand_as(out))
    assert (hidden | kept).all()
    assert (hidden.sum(0) + torch.isclose(h, mean.expand_as(h)) == 1).all()
    assert kept[0, 0, :, 6:].all()
    assert kept[0, 0, :, :, 5:].all()
    assert not kept[0, 0, :, :6, :5].any()


@pytest.mark.parametrize("kind", ["GridMask", "RandomMask"])
@pytest.mark.parametrize("baseline", ["mean", "blur", "noise"])
def test_reversed_masks_show_the_baseline_elsewhere(kind: str, baseline: str) -> None:
    """A mask of ones in reverse shows the baseline itself: a mean, a mean of 5 by 5 neighbours, or noise of its own."""
    h = pixels()
    hidden = from_spec({"kind": kind, "cells": 1, "reverse": True, "baseline": baseline, **_all_shown(kind)})(h)
    hidden = hidden if kind == "RandomMask" else from_spec({"kind": kind, "cells": 1, "baseline": baseline})(h)
    around = F.avg_pool2d(F.pad(h, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    mean = h.mean((2, 3), keepdim=True)
    if baseline == "noise":
        assert not torch.isclose(hidden, h, atol=1e-3).flatten(1).all(1)[[0, 1, 2, 4, 5, 6]].any()
        torch.testing.assert_close(hidden[3], h[3])  # an image without variation gets none
    else:
        torch.testing.assert_close(hidden, mean.expand_as(h) if baseline == "mean" else around)


def _all_shown(kind: str) -> dict[str, float]:
    return {"keep": 1.0, "draws": 1} if kind == "RandomMask" else {}


@pytest.mark.parametrize("reverse", [False, True])
def test_noise_baseline_keeps_to_the_images_own_range(reverse: bool) -> None:
    """The noise that shows through a mask lies between the least and the largest value of its own image."""
    h = feature_map()
    spec = {"kind": "GridMask", "site": "layer", "baseline": "noise", "reverse": reverse}
    out = from_spec(spec)(h).unflatten(0, (4, 7))
    least, largest = h.amin(dim=(1, 2, 3), keepdim=True), h.amax(dim=(1, 2, 3), keepdim=True)
    assert (out >= least - 1e-5).all()
    assert (out <= largest + 1e-5).all()


def test_random_mask_shows_the_share_it_is_told() -> None:
    """Over many draws, the share of cells that stay is the setting ``keep``."""
    h = torch.zeros(1, 1, 8, 8)
    h[..., ::2] = 1
    masks = from_spec({"kind": "RandomMask", "draws": 500, "keep": 0.8})
    shown = (masks(h) - 0.5).abs() * 2
    assert float(shown.mean()) == pytest.approx(0.8, abs=0.02)


def test_flip_twice_is_nothing() -> None:
    """Mirroring is its own inverse and moves the first column to the last place."""
    flip, h = from_spec({"kind": "Flip"}), pixels()
    assert torch.equal(flip(h)[..., 0], h[..., -1])
    assert torch.equal(flip(flip(h)), h)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-2, 0), (0, 3), (0, -1), (2, -3), (0, 0), (20, 0)])
def test_shift_moves_right_and_down(dx: int, dy: int) -> None:
    """The pixel at (row, column) comes from (row - dy, column - dx), or from the edge nearest to it."""
    h = pixels()
    rows = (torch.arange(13) - dy).clamp(0, 12)
    columns = (torch.arange(11) - dx).clamp(0, 10)
    out = from_spec({"kind": "Shift", "dx": dx, "dy": dy})(h)
    assert torch.equal(out, h[:, :, rows][..., columns])


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3), (0, 0)])
def test_rotate_by_quarter_turns(degrees: int, turns: int) -> None:
    """Quarter turns are exact on a square, and all go the same way round."""
    h = pixels()[..., :11, :]
    out = from_spec({"kind": "Rotate", "degrees": degrees})(h)
    torch.testing.assert_close(out, h.rot90(turns, dims=(2, 3)), rtol=1e-4, atol=1e-5)


def test_zoom_by_one_is_nothing_and_by_two_shows_the_middle() -> None:
    """The factor enlarges about the centre, and the corners fall away."""
    h = torch.zeros(1, 1, 8, 8)
    h[..., 2:6, 2:6] = 1
    torch.testing.assert_close(from_spec({"kind": "Zoom", "factor": 1.0})(h), h)
    out = from_spec({"kind": "Zoom", "factor": 2.0})(h)
    assert float(out[..., 1:7, 1:7].min()) == pytest.approx(1.0)
    assert float(from_spec({"kind": "Zoom", "factor": 0.5})(h).mean()) < float(h.mean())


@pytest.mark.parametrize(
    ("spec", "sides"),
    [
        ({"kind": "Downscale", "scale": 0.5}, (6, 6)),  # round(6.5) is 6, round(5.5) is 6
        ({"kind": "Downscale", "scale": 0.75}, (10, 8)),
        ({"kind": "Downscale", "scale": 0.01}, (1, 1)),
        ({"kind": "Downscale", "scale": 0.5, "restore": True}, (13, 11)),
        ({"kind": "Flip", "scale": 0.75}, (10, 8)),
        ({"kind": "Pool", "size": 2}, (6, 5)),
        ({"kind": "Pool", "size": 3, "mode": "max"}, (4, 3)),
    ],
)
def test_sizes_that_come_out(spec: dict[str, object], sides: tuple[int, int]) -> None:
    """Height and width are scaled, rounded and never zero."""
    assert from_spec(spec)(pixels()).shape == (7, 3, *sides)


def test_pool_takes_mean_or_maximum() -> None:
    """Each block gives its mean, or its largest value."""
    h = torch.arange(16.0).view(1, 1, 4, 4)
    assert from_spec({"kind": "Pool"})(h).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert from_spec({"kind": "Pool", "mode": "max"})(h).flatten().tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize(("bits", "bounds"), [(1, (0.0, 1.0)), (4, (0.0, 1.0)), (3, (-1.0, 3.0))])
def test_bit_depth_leaves_so_many_levels(bits: int, bounds: tuple[float, float]) -> None:
    """Pixels are rounded to the nearest of ``2 ** bits`` levels between the bounds, ends included."""
    low, high = bounds
    h = torch.linspace(low, high, 501).view(1, 1, 3, 167)
    out = from_spec({"kind": "BitDepth", "bits": bits, "low": low, "high": high})(h)
    step = (high - low) / (2**bits - 1)
    assert len(torch.unique((out / step).round(decimals=3))) == 2**bits
    assert float((out - h).abs().max()) <= step / 2 + 1e-6
    assert (float(out.min()), float(out.max())) == pytest.approx(bounds)


def test_bit_depth_passes_the_gradient_straight_through() -> None:
    """Rounding has no gradient of its own; the identity's is used, so that adaptive attacks get one."""
    h = pixels().requires_grad_(True)
    (gradient,) = torch.autograd.grad(from_spec({"kind": "BitDepth"})(h).sum(), h)
    assert torch.equal(gradient, torch.ones_like(h))


def test_median_removes_a_single_bad_pixel() -> None:
    """One outlier in a neighbourhood of three by three disappears."""
    h = torch.full((1, 1, 7, 7), 0.5)
    h[0, 0, 3, 3] = h[0, 0, 0, 0] = 1.0
    assert torch.equal(from_spec({"kind": "Median"})(h), torch.full_like(h, 0.5))


def test_blur_keeps_constants_and_spreads_a_point() -> None:
    """The kernel sums to one, is symmetric, and widens with sigma."""
    h = torch.zeros(1, 1, 15, 15)
    h[0, 0, 7, 7] = 1
    narrow, wide = (from_spec({"kind": "Blur", "sigma": sigma})(h)[0, 0] for sigma in (0.7, 1.4))
    assert float(narrow.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(narrow, narrow.T.flip(0))
    assert float(wide[7, 7]) < float(narrow[7, 7]) < 1
    variance = float((narrow.sum(0) * (torch.arange(15) - 7) ** 2).sum())
    assert variance == pytest.approx(0.7**2, rel=0.05)


def test_contrast_scales_about_the_mean() -> None:
    """The mean of each image stays, its standard deviation is multiplied."""
    h = pixels()
    out = from_spec({"kind": "Contrast", "factor": 0.5})(h)
    torch.testing.assert_close(out.mean((1, 2, 3)), h.mean((1, 2, 3)))
    torch.testing.assert_close(out.std((1, 2, 3)), h.std((1, 2, 3)) / 2)


def test_grey_has_equal_channels_of_the_same_mean() -> None:
    """Colour goes, brightness stays."""
    h = pixels()
    out = from_spec({"kind": "Grey"})(h)
    assert torch.equal(out[:, 0], out[:, 2])
    torch.testing.assert_close(out.mean(1), h.mean(1))


def test_clip_limits_each_channel_by_its_own_spread() -> None:
    """No value is further from its channel's mean than the setting allows, and values within stay as they are."""
    h = feature_map()
    out = from_spec({"kind": "Clip", "site": "layer", "spread": 1.0})(h)
    mean, deviation = h.mean((2, 3), keepdim=True), h.std((2, 3), keepdim=True)
    assert ((out - mean).abs() <= deviation * 1.001 + 1e-6).all()
    inside = (h - mean).abs() < deviation * 0.9
    assert inside.any()
    assert torch.equal(out[inside], h[inside])


def test_ablation_takes_every_channel_once() -> None:
    """Over the draws each channel is replaced by its mean exactly once, also in groups of unequal size."""
    h = feature_map()
    for groups in (2, 3, 4):
        out = from_spec({"kind": "AblateChannels", "site": "layer", "groups": groups})(h).unflatten(0, (groups, 7))
        ablated = (out != h).flatten(3).any(-1)[:, 0]
        flat = torch.isclose(out[:, 0], h[0].mean((1, 2), keepdim=True)).flatten(2).all(-1)
        assert ablated.sum(0).tolist() == [1, 1, 1, 1]
        assert torch.equal(ablated, flat)


def test_noise_has_the_strength_it_is_told() -> None:
    """The standard deviation is ``sigma`` times the pixel range, and the same pattern meets every input."""
    h = torch.zeros(2, 3, 32, 32)
    out = from_spec({"kind": "GaussianNoise", "sigma": 0.1, "width": 255.0, "draws": 4})(h).unflatten(0, (4, 2))
    assert float(out.std()) == pytest.approx(25.5, rel=0.03)
    assert torch.equal(out[:, 0], out[:, 1])
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("spec", [{"kind": "GaussianNoise"}, {"kind": "RandomMask"},
                                  {"kind": "DropTokens", "site": "a", "count": 5}])  # fmt: skip
def test_what_was_drawn_is_part_of_the_state(spec: dict[str, object]) -> None:
    """Random patterns are stored with the artifact, so that a change of the generator does not change a verdict."""
    assert from_spec(spec).state_dict()


def test_dropped_tokens_are_the_mean_of_the_others_and_spare_the_first() -> None:
    """Each token stays or becomes the mean over all but the class token, which always stays; patterns differ."""
    h = tokens()
    drop = from_spec({"kind": "DropTokens", "site": "blocks", "count": 10, "draws": 4, "keep": 0.5})
    out = drop(h).unflatten(0, (4, 7))
    kept = (out == h).all(-1)
    dropped = torch.isclose(out, h[:, 1:].mean(1, keepdim=True).expand_as(h)).all(-1)
    assert kept[:, :, 0].all()
    assert (kept ^ dropped).all()
    assert 0.2 < float(kept[:, :, 1:].float().mean()) < 0.8
    assert not torch.equal(kept[0], kept[1])


def test_ablation_of_tokens_takes_every_channel_once() -> None:
    """On tokens a channel is the last dimension, and its mean is taken over the tokens."""
    h = tokens()
    out = from_spec({"kind": "AblateChannels", "site": "blocks", "groups": 2})(h).unflatten(0, (2, 7))
    flat = torch.isclose(out, h.mean(1, keepdim=True).expand_as(out)).all(2)
    assert flat.sum(0).tolist() == [[1, 1, 1, 1]] * 7


@pytest.mark.parametrize("norm", ["sign", "l2"])
@pytest.mark.parametrize("toward", [False, True])
def test_gradient_step_moves_the_log_odds_where_it_says(norm: str, toward: bool) -> None:
    """Against the decision the log-odds fall, in favour they rise, by a step of the length that was asked for."""
    h = tokens()
    step = from_spec({"kind": "GradientStep", "site": "a", "strength": 0.01, "norm": norm, "toward": toward})
    out = step(h, small_network)
    z, z_do = small_network(h), small_network(out)
    change = log_odds(z_do, z.argmax(1)) - log_odds(z, z.argmax(1))
    assert ((change > 0) == toward).all()
    length = (out - h).square().mean((1, 2)).sqrt() / h.std((1, 2))
    torch.testing.assert_close(length, torch.full((7,), 0.01), rtol=1e-2, atol=1e-4)


def test_gradient_step_under_inference_mode_is_the_same() -> None:
    """The gate runs without gradients; the step takes its own, and leaves an ordinary tensor and no graph behind."""
    h = tokens()
    step = from_spec({"kind": "GradientStep", "site": "a"})
    expected = step(h, small_network)
    with torch.inference_mode():
        inside = step(h.clone(), small_network)
    torch.testing.assert_close(inside, expected)
    assert not expected.requires_grad


def test_gradient_step_can_itself_be_differentiated() -> None:
    """An adaptive attacker gets the true gradient: that of finite differences, second derivatives included."""
    h = tokens()[2:3].double().requires_grad_(True)

    def network(t: Tensor) -> Tensor:
        return torch.tanh(t.flatten(1) @ torch.linspace(-1, 1, 160, dtype=torch.float64).view(40, 4).sin())

    step = from_spec({"kind": "GradientStep", "site": "a", "strength": 0.5, "norm": "l2"})
    assert torch.autograd.gradcheck(lambda t: network(step(t, network)), (h,))


def test_gradient_step_refuses_to_be_exported_or_to_guess() -> None:
    """A graph has no gradients, and a step needs a classifier; both errors say what to do."""
    step = from_spec({"kind": "GradientStep", "site": "a"})
    with pytest.raises(UsageError, match="give it resume"):
        step(tokens())
    step.forward = partial(step.forward, resume=small_network)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="cannot be exported"):
        torch.export.export(step, (tokens(),), strict=False)


def test_universal_perturbation_is_clipped_to_the_bounds() -> None:
    """It is in units of the pixel range, and pixels stay within the bounds."""
    made = from_spec({"kind": "UniversalPerturbation", "shape": "1x2x2", "eps": 0.1, "low": 0.0, "high": 255.0})
    assert isinstance(made, LearnedIntervention)
    with torch.no_grad():
        made.perturbation.fill_(0.5)
        made.project()
    out = made(torch.tensor([0.0, 100.0, 250.0, 255.0]).view(1, 1, 2, 2))
    torch.testing.assert_close(out.flatten(), torch.tensor([25.5, 125.5, 255.0, 255.0]))


def test_a_concept_is_what_its_channel_adds() -> None:
    """Draw 0 is the reconstruction; each other draw lacks one concept, so that what is missing sums to the whole."""
    h = feature_map()
    made = from_spec({"kind": "AblateConcept", "site": "layer", "channels": 4, "concepts": 3})
    assert isinstance(made, LearnedIntervention)
    with torch.no_grad():
        made.start(h, torch.Generator().manual_seed(0))
    whole, *ablated = made(h).unflatten(0, (4, 7))
    torch.testing.assert_close(whole, made.reconstruct(h))
    without_any = made.decoder(torch.zeros_like(made.encode(h)))
    scale = float(whole.abs().max())
    torch.testing.assert_close(sum(whole - one for one in ablated) + without_any, whole, rtol=1e-4, atol=1e-5 * scale)


def test_name_tells_kind_settings_and_site() -> None:
    """The name is what reports show."""
    assert from_spec({"kind": "Shift", "site": "layer2", "dx": 2}).name == "Shift(dx=2, dy=0, scale=1.0)@layer2"
