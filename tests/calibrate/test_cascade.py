"""A cascade: what it says, what it leaves out, what it promises, and its graph."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.calibrated import CLEAN, QUICK, SETTINGS, cache, fresh, images
from support.gates import MANIFEST, OUTPUTS, black_box, gate
from support.models import TINY, tiny_images
from support.onnx_files import quantized, tiny_file

from ce_detect import CalibrationError, DetectedModel, runtime
from ce_detect.calibrate.cascade import check_budget
from ce_detect.calibrate.cost.pytorch import BATCHES, Meter
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.search.candidates import of
from ce_detect.classifiers.wrapping import wrap
from ce_detect.cli._figures import cost
from ce_detect.core.errors import ExportError
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.cascade import First, Staged, cascaded
from ce_detect.detector.gate import GateModule
from ce_detect.detector.inference import Inference
from ce_detect.export import parity
from ce_detect.export.fused_graph import fused
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables, untrained
from ce_detect.fitting import heads as learn
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CLEARED, CascadedHead
from ce_detect.interventions import GaussianNoise, GridMask, Scale
from ce_detect.redteam.settings import Plan
from ce_detect.redteam.target import Gated
from ce_detect.verdict import conformal

Tensor = torch.Tensor


class Column(Head):
    """A score that is one feature."""

    def __init__(self, width: int, column: int) -> None:
        super().__init__(torch.zeros(width), torch.ones(width))
        self.column = column

    def forward(self, features: Tensor) -> Tensor:
        """Return that feature."""
        return features[:, self.column]


def of_columns(level: float = 0.0) -> CascadedHead:
    """A cascade on two features: the first is the score of the first head, the second that of the second."""
    return CascadedHead(Column(1, 0), Column(2, 1), level=level)


def linear(features: Tensor, generator: torch.Generator) -> Head:
    """A head of random weights on features like these."""
    middle = features.median(0).values
    weight = torch.randn(features.shape[1], 1, generator=generator) / features.shape[1]
    return learn.NetworkHead(middle, (features - middle).abs().mean(0) + 1e-3, weight, torch.zeros(1), [])


def cascade(name: str, kind: str, signature: Signature | None = None) -> GateModule:
    """A gate with a cascade in front of a tiny model, that clears some of its images and flags some."""
    x, generator = tiny_images(name, 40, seed=3), torch.Generator().manual_seed(1)
    whole = gate(name, kind) if signature is None else None
    signature = signature or cast(GateModule, whole).signature
    with torch.no_grad():
        free, features = signature.first(x)[1], signature(x)[1]
        first = linear(free, generator)
        second = linear(features, generator) if whole is None else whole.head
        head = CascadedHead(first, second, level=float(first(free).quantile(CLEARED)))
        head.slope.fill_(1.0)
        head.offset.fill_(0.0)
        scores = head(features)
    threshold = float(scores.sort().values[29:31].mean())
    return GateModule(signature, head, clean_scores=scores, threshold=threshold, prevalence=0.1).eval()


@functools.cache
def guard() -> DetectedModel:
    """A calibrated detector with a cascade; leave it as it is."""
    return DetectedModel(fashion_cnn()).calibrate(
        images().x, recipe=QUICK, jobs=1, cache=cache(), cascade=True, **SETTINGS
    )


def test_cleared_inputs_have_the_first_score_and_others_the_second() -> None:
    """A score that is not a number clears nothing."""
    features = torch.tensor([[-1.0, 5.0], [0.0, 5.0], [0.1, -3.0], [torch.nan, 2.0]])
    assert of_columns()(features).tolist() == pytest.approx([-1.0, 0.0, -3.0, 2.0])


@given(
    st.lists(st.tuples(st.floats(-4, 4, width=32), st.floats(-4, 4, width=32)), min_size=1, max_size=20),
    st.floats(-3, 3, width=32) | st.just(0.0), st.floats(-3, 3, width=32),
)  # fmt: skip
def test_what_an_attacker_follows_is_flagged_as_the_score_is(
    rows: list[tuple[float, float]], level: float, threshold: float
) -> None:
    """The shortest way below the threshold lies below it exactly where the verdict does."""
    head, features = of_columns(level), torch.tensor(rows, dtype=torch.float32)
    assert torch.equal(head.near(features, threshold) > threshold, head(features) > threshold)


@pytest.mark.parametrize(
    ("level", "threshold", "first", "second", "flagged"),
    [
        (0.0, 2.0, 1e-8, 5.0, True),
        (0.0, 3.0, 1e-45, 4.0, True),
        (0.1, 2.0, 0.1000001, 5.0, True),
        (0.1, 2.0, 0.1, 5.0, False),
    ],
)
def test_rounding_does_not_let_an_attacker_past(
    level: float, threshold: float, first: float, second: float, flagged: bool
) -> None:
    """Just above the level an input is flagged, however the way down to it rounds."""
    head, features = of_columns(level), torch.tensor([[first, second]])
    assert (head(features) > threshold).tolist() == [flagged]
    assert (head.near(features, threshold) > threshold).tolist() == [flagged]


def test_an_attacker_sees_both_ways_past() -> None:
    """The gradient is that of the head which is nearer to letting the input through."""
    features = torch.tensor([[0.5, 5.0], [5.0, 2.5]], requires_grad=True)
    (slope,) = torch.autograd.grad(of_columns().near(features, 2.0).sum(), features)
    assert slope.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("name", ["plain", "transformer"])
def test_gate_judges_in_stages_as_it_does_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batch, the first time and as a trace; interventions meet the rows that were left, and no others."""
    made, x = cascade(name, "logistic"), tiny_images(name, 40, seed=3)
    with torch.inference_mode():
        expected = made(x)
        left = First(made)(x)[2] > cascaded(made).level
    assert 0 < left.sum() < len(x)
    met: list[int] = []
    calls: list[int] = []
    second, judge = Signature.second, Inference(made).judge
    monkeypatch.setattr(
        Signature, "second", lambda self, x, *rest, **more: met.append(len(x)) or second(self, x, *rest, **more)
    )
    for rows in (
        slice(0, 40),
        slice(7),
        torch.nonzero(left)[:1, 0],
        torch.nonzero(~left)[:3, 0],
        torch.nonzero(left)[:, 0],
    ):
        met.clear()
        for _ in range(3):
            found = judge(x[rows])
            for field in ("logits", "label", "score", "probability"):
                ours, theirs = getattr(found, field), getattr(expected, field)[rows]
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        expected_rows = int(left[rows].sum())
        assert set(met) <= ({expected_rows} if expected_rows else set())
        calls += met
    assert int(left.sum()) in calls


def test_calibrated_cascade_clears_most_clean_inputs_and_still_detects() -> None:
    """About `CLEARED` of fresh clean images, few of those under attack, and nothing that is cleared is flagged."""
    clean, attacked = (torch.from_numpy(x) for x in fresh())
    made = guard().gate
    level = cascaded(made).level
    with torch.inference_mode():
        of_clean, of_attacked = ((First(made)(x)[2] <= level).float().mean() for x in (clean, attacked))
    assert abs(of_clean - CLEARED) < 0.15
    assert of_attacked < 0.1
    assert level < made.threshold
    assert guard()(attacked).is_adversarial.float().mean() > guard()(clean).is_adversarial.float().mean() + 0.5
    found = guard().manifest["figures"]["cascade"]
    assert abs(found["cleared"] - CLEARED) < 0.15
    assert found["cost_of_others"] > guard().manifest["figures"]["cost"]
    assert found["served_cost_of_others"] == {}  # there is no budget that a cost there would be held against
    assert guard().manifest["cascade"]
    assert found["cleared_attacked"] == {}
    assert "are cleared early; others cost" in cost(guard().manifest)
    beside = {**found, "cleared_attacked": {"pgd": 0.01, "fgsm": 0.03}}
    assert "(and 2.0 % of attacked ones)" in cost(
        {**guard().manifest, "figures": {"cost": 1.2, "served_cost": {}, "cascade": beside}}
    )


def test_promise_holds_with_a_cascade() -> None:
    """Of many calibrations on clean scores of a cascade, no more exceed the rate than were promised.

    The level is fixed, so the score is one function of the input, whatever it jumps by; here the second head thinks
    otherwise of the inputs that are left than the first.
    """
    generator = torch.Generator().manual_seed(0)
    head, fpr, n = of_columns(level=0.25), 0.1, 120

    def scores(count: int) -> Any:
        first = torch.randn(count, generator=generator)
        return head(torch.stack([first, 0.3 * first + torch.randn(count, generator=generator)], dim=1)).numpy()

    population = np.sort(scores(400_000))
    rates = []
    for _ in range(600):
        threshold = conformal.threshold(scores(n), fpr, confidence=0.9)
        rates.append(1 - np.searchsorted(population, threshold, side="right") / len(population))
    exceeded = np.mean(np.asarray(rates) > fpr)
    assert exceeded <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)
    assert exceeded > 0.02  # the promise is not kept by flagging nothing


def test_level_is_set_on_images_that_the_heads_have_not_learned_from() -> None:
    """So it clears its share of fresh ones too, however well the first head knows its own."""
    made, generator = guard().gate, np.random.default_rng(0)
    width = len(made.signature.names)

    def drawn(count: int) -> Any:
        return generator.normal(size=(count, width)).astype(np.float32)

    fit, select = (feature_tables.Table(drawn(300), {"some": drawn(100) + 1}) for _ in range(2))
    head = learn.fitted(made.signature, fit, select, kind="logistic", seed=0, cascade=True)
    assert isinstance(head, CascadedHead)
    with torch.inference_mode():
        own, others = (
            (head.first(torch.from_numpy(rows)[:, : head.free]) <= head.level).float().mean()
            for rows in (np.concatenate([fit.clean, select.clean]), drawn(2000))
        )
    assert abs(others - CLEARED) < 0.07
    assert own > others


def test_folds_keep_an_image_and_what_was_made_of_it_together() -> None:
    """A head that scores an image has seen neither it, nor a corrupted copy, nor its attacked twin."""
    clean = np.concatenate([np.arange(10), np.arange(10)]).astype(np.float32)[:, None]
    twins = np.array([3, 3, 7, 0, 9])
    table = feature_tables.Table(clean, {"some": twins.astype(np.float32)[:, None]}, 10, {"some": twins})
    seen: list[int] = []
    for number in range(learn.FOLDS):
        own, others = (table.fold(number, others=others, columns=slice(1)) for others in (False, True))
        assert not {*own.clean[:, 0], *own.attacked["some"][:, 0]} & {
            *others.clean[:, 0],
            *others.attacked["some"][:, 0],
        }
        assert len(own.clean) + len(others.clean) == 20
        seen += own.clean[:, 0].astype(int).tolist()
    assert sorted(seen) == sorted([*range(10), *range(10)])


def test_level_does_not_depend_on_the_images_that_set_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Darker ones in *calibrate*: another threshold, the same level and heads; or the promise would not hold."""
    clean = CalibrationData.clean

    def darker(self: CalibrationData, split: str) -> Any:
        return np.asarray(clean(self, split)[:]) * np.float32(0.8) if split == "calibrate" else clean(self, split)

    monkeypatch.setattr(CalibrationData, "clean", darker)
    other = DetectedModel(fashion_cnn()).calibrate(
        images().x, recipe=QUICK, jobs=1, cache=cache(), cascade=True, **SETTINGS
    )
    assert other.threshold != guard().threshold
    heads = [cascaded(made.gate).state_dict() for made in (other, guard())]
    for name, value in heads[0].items():  # what was learned inside has no likelihoods of its own, but NaN
        assert torch.allclose(value, heads[1][name], rtol=0, atol=0, equal_nan=True)


def test_an_artifact_brings_it_back(tmp_path: Path) -> None:
    """Every score is the same, and it is run in stages again."""
    guard().save(tmp_path / "guard.safetensors")
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", fashion_cnn())
    assert isinstance(Inference(loaded.gate)._runner(), Staged)
    clean, _ = fresh()
    assert np.array_equal(loaded(clean).score, guard()(clean).score)


@pytest.mark.parametrize(
    ("name", "kind", "uint8"),
    [("plain", "mlp", False), ("transformer", "logistic", False), ("residual", "mlp", True)],
)
def test_graph_judges_as_the_gate_does(name: str, kind: str, uint8: bool) -> None:
    """For CNNs, a transformer, every kind of head and grey levels, also where no row or every row is left."""
    made, x = cascade(name, kind), tiny_images(name, 40, seed=3)
    model = fused(made, MANIFEST, uint8=uint8)
    onnx.checker.check_model(model)
    opened = parity.session(model.SerializeToString())
    assert [output.name for output in opened.get_outputs()] == OUTPUTS
    assert opened.get_inputs()[0].name == "input"
    with torch.inference_mode():
        left = First(made)(x)[2] > cascaded(made).level
    for rows in (x[left], x[~left], x, x[left][:1], x[~left][:1]):
        assert parity.differences(made, opened, rows.numpy()).agree
    if not uint8:
        for threshold, flagged in ((-1e9, True), (1e9, False)):
            feed = {"input": x.numpy(), "threshold": np.array(threshold, np.float32)}
            assert (opened.run(["is_adversarial"], feed)[0] == flagged).all()


def test_black_box_is_in_both_parts_of_the_graph(tmp_path: Path) -> None:
    """An ONNX model that cannot be converted is cut where the interventions resume it."""
    classifier = black_box("transformer", tmp_path)
    sites = classifier.sites
    latent = [Scale(site=sites[0]), GaussianNoise(channels=TINY["transformer"].shape[0])]
    made = cascade("transformer", "logistic", Signature(classifier, latent, sites=sites[:1], chunk=16))
    opened = parity.session(fused(made, MANIFEST).SerializeToString())
    assert parity.differences(made, opened, tiny_images("transformer", 40, seed=3).numpy()).agree


def test_runtime_gives_the_same_results(tmp_path: Path) -> None:
    """The gate that needs no torch opens the graph of a cascade as any other, for single inputs and batches."""
    guard().export(tmp_path / "guard.onnx")
    served = runtime.Gate(tmp_path / "guard.onnx")
    clean, _ = fresh()
    for rows in (clean[:1], clean[1:2], clean[2:3], clean):
        np.testing.assert_allclose(served(rows).score, guard()(rows).score, atol=1e-4)


def test_weights_are_in_the_graph_once_and_no_branch_is() -> None:
    """Both parts read the same ones; ONNX Runtime lays out no convolution in a branch. Twice gives the same bytes."""
    made = cascade("residual", "logistic")
    model, again = (fused(made, MANIFEST) for _ in range(2))
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    contents = [(tuple(t.dims), t.raw_data) for t in model.graph.initializer if len(t.raw_data) > 64]
    assert len(set(contents)) == len(contents)
    assert not [node for node in model.graph.node if node.op_type in ("If", "Loop")]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Compress") == 3 + len(made.signature.changed)


def test_a_calibrated_cascade_exports(tmp_path: Path) -> None:
    """Export checks it on the images of the calibration, clean and attacked."""
    found = guard().export(tmp_path / "guard.onnx")
    assert found.agree
    clean, attacked = fresh()
    opened = parity.session(tmp_path / "guard.onnx")
    for x in (clean, attacked):
        assert parity.differences(guard().gate, opened, x).agree


def test_inputs_at_the_level_may_take_either_way() -> None:
    """Rounding decides there; the check says how many there were and compares the verdicts of these alone."""
    made, x = cascade("plain", "mlp"), tiny_images("plain", 40, seed=3)
    with torch.inference_mode():
        first, second = First(made)(x)[2], cascaded(made).second(made.signature(x)[1])
    at = int((first - second).abs().argmax())
    made.threshold.fill_(1e6)
    for level, agree in ((first[at], True), (first[at] - 2e-3, False)):
        cascaded(made).level.copy_(level)
        model = fused(made, MANIFEST)
        (kept,) = (t for t in model.graph.initializer if t.name == "cascade/level")
        kept.CopyFrom(onnx.numpy_helper.from_array(np.float32(first[at]) - np.float32(1e-5), "cascade/level"))
        found = parity.differences(made, parity.session(model.SerializeToString()), x[[at]].numpy())
        assert found.either == int(agree)
        assert found.agree
    cascaded(made).level.copy_(first[at] + 2e-3)
    assert not parity.differences(made, parity.session(model.SerializeToString()), x[[at]].numpy()).agree


def test_timed_gate_clears_its_share_and_costs_less_than_without(tmp_path: Path) -> None:
    """What is timed clears a share of the images it is timed on; the rest pay, here for nine forward passes."""
    classifier = wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    x = torch.from_numpy(images().x[:8])
    signature = guard().gate.signature
    for kind in ("mlp", "logistic"):
        head = untrained.cascade_for_timing(signature, kind, x, CLEARED)  # type: ignore[arg-type]
        assert isinstance(head, CascadedHead)
        with torch.inference_mode():
            cleared = (head.first(signature.first(x)[1]) <= head.level).float().mean()
        assert abs(cleared - CLEARED) < 0.1
    table, items = CostTable(tmp_path, classifier, batches=BATCHES), (of(GridMask(cells=3)),)
    some, none = (Meter(classifier, fashion_cnn(), x, table, "logistic", cleared=share) for share in (CLEARED, 0.0))
    assert (round(some.paying, 6), none.paying) == (round(1 - CLEARED, 6), 1.0)
    assert none.gate(items) > 1.3 * some.gate(items)
    assert all(ratio > 1.3 * some.served(items)[batch] for batch, ratio in none.served(items).items())


def test_a_cascade_that_clears_too_little_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It costs more than what was timed; the budget is then not kept, and a warning says why."""
    figures = {"cost": 1.2, "served_cost": {"1": 1.7}, "cascade": {"cleared": 0.3}}
    meter = cast(Meter, SimpleNamespace(tight=lambda budget: {}))
    with caplog.at_level(logging.WARNING, "ce_detect"):
        check_budget(figures, meter, 1.6)
        assert not caplog.text
        check_budget(figures, meter, 1.5)
    assert "clear 30 % of clean images, so the gate costs 1.55" in caplog.text


def test_black_box_that_takes_no_empty_batch_is_refused_first(tmp_path: Path) -> None:
    """The graph of a cascade would fail wherever all inputs are cleared; an hour of attacks would be for nothing."""
    onnx.save(quantized(tiny_file("in-place", dynamo=False)), tmp_path / "quantized.onnx")
    tiny = TINY["in-place"]
    made = DetectedModel(str(tmp_path / "quantized.onnx"), input_shape=tiny.shape, bounds=tiny.bounds)
    with pytest.raises(CalibrationError, match="cannot run an empty batch"):
        made.calibrate(tiny_images("in-place", 300).numpy(), recipe="black-box", fpr=0.1, cascade=True)


def test_a_graph_that_fails_when_all_is_cleared_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export tries that, whatever the images it was given."""

    def failing(opened: Any, x: Tensor) -> None:
        raise ExportError("cannot run it")

    monkeypatch.setattr(parity, "differences", lambda *_: SimpleNamespace(agree=True))
    monkeypatch.setattr(parity, "ran", failing)
    with pytest.raises(ExportError, match="cannot run it"):
        guard().export(tmp_path / "guard.onnx")
    assert not list(tmp_path.iterdir())


def test_without_interventions_there_is_nothing_to_spare() -> None:
    """A gate of free statistics alone has one head."""
    alone = learn.without_interventions(guard().gate.signature)
    rows = np.random.default_rng(0).normal(size=(300, len(alone.names))).astype(np.float32)
    table = feature_tables.Table(rows[:200], {"some": rows[200:] + 1})
    assert not isinstance(learn.fitted(alone, table, table, kind="logistic", seed=0, cascade=True), CascadedHead)


@pytest.mark.parametrize(
    ("settings", "said"), [({"harden": 1}, "exclude each other"), ({"recipe": CLEAN}, "clean images alone")]
)
def test_what_has_no_cascade_is_refused(settings: dict[str, Any], said: str) -> None:
    """A hardened copy must see every input, and what may be cleared is learned from attacks."""
    given = {"recipe": QUICK, **SETTINGS, **settings}
    with pytest.raises(CalibrationError, match=said):
        DetectedModel(fashion_cnn()).calibrate(images().x, jobs=1, cache=cache(), cascade=True, **given)


def test_red_team_attacks_both_heads() -> None:
    """Its verdicts are those of the gate, and with large perturbations it gets through."""
    clean, attacked = fresh()
    target = Gated(guard().gate)
    for x in (clean, attacked):
        with torch.inference_mode():
            found = target.joint(torch.from_numpy(x)).score > target.threshold
        assert np.array_equal(found.numpy(), guard()(x).is_adversarial)
    report = guard().redteam(clean[:6], plan=Plan(steps=20, decisions=0, queries=0, seed=0))
    assert any(radius is not None for radius in report.radii_joint)
