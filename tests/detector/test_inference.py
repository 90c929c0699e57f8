"""What runs a gate says what the gate says, and notices when the gate is another one."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from support import calibrated
from support.gates import gate
from support.models import tiny_images

from ce_detect.detector.cascade import Staged
from ce_detect.detector.compiled import Compiled
from ce_detect.detector.detector import Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.detector.inference import Inference
from ce_detect.heads.cascade import CascadedHead


def another() -> GateModule:
    """A calibrated gate that nothing else uses."""
    return copy.deepcopy(calibrated.guard().gate)


def images(count: int) -> torch.Tensor:
    """Some of those that it was calibrated on."""
    return torch.from_numpy(calibrated.images().x[:count])


def programs(inference: Inference) -> list[Any]:
    """What it has compiled so far."""
    runner = inference._runner()
    assert isinstance(runner, Compiled)
    return list(runner._programs.values())


def assert_same(got: Verdict, expected: Verdict) -> None:
    """Every field of two verdicts, but for rounding."""
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_it_judges_as_the_gate_does() -> None:
    """Every output of a calibrated gate, from the first batch of a shape to the fourth."""
    made, x = another(), images(5)
    with torch.inference_mode():
        expected = made(x)
    inference = Inference(made)
    for _ in range(4):
        assert_same(inference.judge(x), expected)


def test_the_second_batch_of_a_shape_is_compiled() -> None:
    """And the program stays from call to call."""
    inference, x = Inference(another()), images(3)
    inference.judge(x)
    assert programs(inference) == [None]
    inference.judge(x)
    (program,) = programs(inference)
    assert isinstance(program, torch.jit.ScriptFunction)
    inference.judge_all(x)
    assert programs(inference) == [program]


@pytest.mark.parametrize("count", [3, 16, 17, 40])
def test_many_inputs_are_judged_in_batches(count: int) -> None:
    """However many there are, all verdicts come in order."""
    made, x = gate("plain", "mlp"), tiny_images("plain", count, seed=2)
    assert made.signature.batch == 16
    with torch.inference_mode():
        expected = [made(part) for part in x.split(16)]
    got = Inference(made).judge_all(x)
    assert len(got.score) == count
    assert_same(got, Verdict(*(torch.cat(columns) for columns in zip(*expected, strict=True))))


def test_another_detector_may_judge_the_signatures() -> None:
    """In the place of the gate, whose logits stay."""
    made, x = another(), images(200)
    assert made.clean_only is not None
    got = Inference(made).judge_all(x, made.clean_only)
    with torch.inference_mode():
        expected = made.clean_only.verdict(*made.signature(x))
    torch.testing.assert_close(got.score, expected.score, rtol=1e-4, atol=1e-4)
    assert torch.equal(got.label, expected.label)
    assert bool(got.probability.isnan().all())


def test_a_gate_with_a_cascade_runs_in_stages() -> None:
    """Any other is compiled as a whole."""
    made = gate("plain", "mlp")
    assert isinstance(Inference(made)._runner(), Compiled)
    first = gate("plain", "mlp", interventions=[]).head
    cascade = GateModule(
        made.signature, CascadedHead(first, made.head), clean_scores=torch.zeros(9), threshold=0.0, prevalence=0.1
    )
    assert isinstance(Inference(cascade)._runner(), Staged)


CHANGES: dict[str, Any] = {
    "type": lambda made: made.to(torch.float64).to(torch.float32),
    "state": lambda made: made.load_state_dict(made.state_dict()),
    "threshold": lambda made: made.threshold.fill_(-1e9),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_is_compiled_anew(change: Any) -> None:
    """A program holds the tensors of before."""
    made, x = another(), images(3)
    inference = Inference(made)
    inference.judge(x), inference.judge(x)
    assert programs(inference)
    change(made)
    assert not programs(inference)
    with torch.inference_mode():
        expected = made(x)
    for _ in range(3):
        assert_same(inference.judge(x), expected)


def test_what_stays_where_it_is_stays_compiled() -> None:
    """A move to where a gate is already changes none of its tensors."""
    made, x = another(), images(3)
    inference = Inference(made)
    inference.judge(x), inference.judge(x)
    made.to(torch.device("cpu"))
    assert programs(inference)


def test_whoever_changes_other_tensors_says_so() -> None:
    """As those of the head, whose change does not show in the threshold."""
    made, x = another(), images(3)
    inference = Inference(made)
    inference.judge(x), inference.judge(x)
    inference.reset()
    assert not programs(inference)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda inference: pickle.loads(pickle.dumps(inference))])
def test_copies_do_not_share_programs(copied: Any) -> None:
    """A copy that is changed afterwards says what it says."""
    inference, x = Inference(another()), images(3)
    before = [inference.judge(x) for _ in range(3)][-1]
    other = copied(inference)
    other.gate.threshold.fill_(-1e9)
    for _ in range(3):
        assert bool(other.judge(x).is_adversarial.all())
    assert torch.equal(inference.judge(x).is_adversarial, before.is_adversarial)


def test_a_guard_compiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it compiled stays from call to call."""
    guard, x = calibrated.guard(), calibrated.images().x[:7]  # first: calibration compiles, too
    compiled: list[Any] = []
    trace = torch.jit.trace
    monkeypatch.setattr(torch.jit, "trace", lambda *given, **more: compiled.append(given) or trace(*given, **more))
    for _ in range(4):
        guard(x)
    assert len(compiled) == 1


def test_large_inputs_are_judged_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that takes all rows at once, too: the feature maps of all of them would fill its memory."""
    made, x, sizes = gate("plain", "mlp"), tiny_images("plain", 10), []
    monkeypatch.setattr("ce_detect.data.lazy.MOST_VALUES", 4 * x[0].numel())
    inference = Inference(made)
    monkeypatch.setattr(inference, "judge", lambda part: sizes.append(len(part)) or made(part))
    assert_same(inference.judge_all(x), made(x))
    assert sizes == [4, 4, 2]
