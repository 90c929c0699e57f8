"""Every kind of intervention, at the input, on feature maps and on tokens: the claims of its metadata and docstring."""

from __future__ import annotations

import inspect
from functools import partial
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
from support.interventions import CASES, Case, settings, small_network
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.core.errors import ArtifactError, CalibrationError
from ce_detect.interventions import from_spec, kinds
from ce_detect.interventions.base import Family, Range, shape_of

every_case = pytest.mark.parametrize("case", CASES)
every_kind = pytest.mark.parametrize("kind", sorted(kinds()))
every_tried_kind = pytest.mark.parametrize("kind", sorted(set(kinds()) - {"RobustCopy"}))
"""All but what is made of a classifier, which ``tests/fitting/test_robust_copy.py`` tries."""


def by_draw(case: Case, out: Tensor) -> Tensor:
    """Output as ``(draws, batch, ...)``."""
    return out.unflatten(0, (case.make().draws, len(case.h)))


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
    alone = Case({**case.spec, **settings(str(case.spec["kind"]), h)}, h)
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
        "MakeCounterfactual",
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


@pytest.mark.parametrize("spec", [{"kind": "GaussianNoise"}, {"kind": "RandomMask"},
                                  {"kind": "DropTokens", "site": "a", "count": 5}])  # fmt: skip
def test_what_was_drawn_is_part_of_the_state(spec: dict[str, object]) -> None:
    """Random patterns are stored with the artifact, so that a change of the generator does not change a verdict."""
    assert from_spec(spec).state_dict()


def test_name_tells_kind_settings_and_site() -> None:
    """The name is what reports show."""
    assert from_spec({"kind": "Shift", "site": "layer2", "dx": 2}).name == "Shift(dx=2, dy=0, scale=1.0)@layer2"
