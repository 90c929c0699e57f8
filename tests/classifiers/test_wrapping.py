"""Any PyTorch classifier behind one seam: cut where possible, hooked where not."""

from __future__ import annotations

import logging
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from support.models import TINY, Subject, subject, tiny_images, tiny_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ce_detect.classifiers.base import INPUT, PENULTIMATE, Classifier
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import at_float32, unwrapped, wrap
from ce_detect.core.errors import ModelError

PLAIN = {"input_shape": (3, 16, 16), "bounds": (0.0, 1.0)}
GREY = {"input_shape": (1, 12, 12), "bounds": (0.0, 1.0)}


class Around(nn.Module):
    """Does something with the output of a model."""

    def __init__(self, model: nn.Module, function: object) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, x: Tensor) -> object:
        """Return what the function makes of the model's output."""
        return self.function(self.model(x))


def around(name: str, function: object) -> nn.Module:
    """A tiny model with its output changed, in eval mode."""
    return Around(tiny_model(name), function).eval()


def two_logits(z: Tensor) -> Tensor:
    """What the wrapper makes of one logit."""
    return torch.stack([-z / 2, z / 2], dim=1) if z.ndim == 1 else z


# --- logits, trace, resume


@torch.inference_mode()
def test_logits_equal_the_models(any_model: Subject) -> None:
    """The wrapped model gives the logits of the bare one, batch norms folded or not."""
    expected = two_logits(any_model.model(any_model.x))
    torch.testing.assert_close(any_model.classifier.logits(any_model.x), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_trace_keeps_what_was_asked_for(any_model: Subject) -> None:
    """A trace gives the logits, and the latents of all sites or of those that are named."""
    classifier = any_model.classifier
    whole = classifier.trace(any_model.x)
    part = classifier.trace(any_model.x, classifier.sites[-1:])
    assert tuple(whole.latents) == classifier.sites
    assert tuple(part.latents) == classifier.sites[-1:]
    assert classifier.trace(any_model.x, ()).latents == {}
    torch.testing.assert_close(whole.logits, classifier.logits(any_model.x))
    torch.testing.assert_close(part.logits, whole.logits)


@torch.inference_mode()
def test_resume_from_its_own_latent_changes_nothing(any_model: Subject) -> None:
    """At every site, and at the input, going on from what was there gives the same logits."""
    logits, latents = any_model.classifier.trace(any_model.x)
    assert latents
    for site, latent in {INPUT: any_model.x, **latents}.items():
        torch.testing.assert_close(any_model.classifier.resume(site, latent, any_model.x), logits)


@torch.inference_mode()
def test_resume_takes_several_draws(any_model: Subject) -> None:
    """Draws stacked draw-major give what each gives alone, and different latents give different logits."""
    for site, latent in any_model.classifier.trace(any_model.x).latents.items():
        draws = [latent, latent.flip(0), latent.clamp(max=latent.mean())]
        together = any_model.classifier.resume(site, torch.cat(draws), any_model.x).chunk(3)
        for draw, logits in zip(draws, together, strict=True):
            alone = any_model.classifier.resume(site, draw, any_model.x)
            torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
        if any_model.tiny.cut:  # the latent carries everything
            torch.testing.assert_close(together[1], together[0].flip(0), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(together[2], together[0], atol=1e-3)


@torch.inference_mode()
def test_batch_of_one_equals_a_row(any_model: Subject) -> None:
    """An input gets the logits and latents that it gets in company."""
    logits, latents = any_model.classifier.trace(any_model.x)
    alone = any_model.classifier.trace(any_model.x[2:3])
    torch.testing.assert_close(alone.logits, logits[2:3], rtol=1e-4, atol=1e-4)
    for site, latent in latents.items():
        torch.testing.assert_close(alone.latents[site], latent[2:3], rtol=1e-4, atol=1e-4)


def test_logits_have_gradients(any_model: Subject) -> None:
    """The gradient of a logit reaches the pixels, and through a resume the latent."""
    classifier = any_model.classifier
    x = any_model.x.clone().requires_grad_(True)
    logits, latents = classifier.trace(x)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.abs().amax(dim=(1, 2, 3)).gt(0).all()
    for site, latent in latents.items():
        inside = latent.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(classifier.resume(site, inside, x)[:, 0].sum(), inside)
        assert gradient.flatten(1).abs().amax(1).gt(0).all(), site


@torch.inference_mode()
def test_inputs_are_left_as_they_are(any_model: Subject) -> None:
    """Neither a trace nor a resume writes into the arrays that it is given."""
    x = any_model.x.clone()
    for site, latent in any_model.classifier.trace(x).latents.items():
        before = latent.clone()
        any_model.classifier.resume(site, latent, x)
        assert torch.equal(latent, before), site
    assert torch.equal(x, any_model.x)


class WritesIntoItsInput(nn.Module):
    """Normalises in place, as careless code does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a model whose input is moved first."""
        x -= 0.25
        return self.model(x)


@pytest.mark.parametrize(("name", "kind"), [("plain", TorchClassifier), ("branching", HookClassifier)])
@torch.inference_mode()
def test_model_that_writes_into_its_input_is_tamed(name: str, kind: type) -> None:
    """A model that overwrites its input is wrapped without overwriting the caller's."""
    part = subject(name)
    classifier = wrap(WritesIntoItsInput(part.model).eval(), input_shape=part.tiny.shape, bounds=part.tiny.bounds)
    assert isinstance(classifier, kind)
    x = part.x.clone()
    logits = classifier.trace(x).logits
    assert torch.equal(x, part.x)
    torch.testing.assert_close(logits, part.model(part.x - 0.25), rtol=1e-4, atol=1e-4)


# --- cutting


def test_models_are_cut_where_they_can_be(any_model: Subject) -> None:
    """The class of the wrapper and the numbers that it states are those of the registry; it fits the protocol."""
    classifier, tiny = any_model.classifier, any_model.tiny
    assert isinstance(classifier, TorchClassifier if tiny.cut else HookClassifier)
    assert isinstance(classifier, Classifier)
    assert (classifier.num_classes, classifier.elastic) == (tiny.classes, tiny.elastic)
    assert (classifier.input_shape, classifier.bounds) == (tiny.shape, tiny.bounds)
    assert str(classifier.device) == "cpu"


@torch.inference_mode()
def test_resume_skips_the_prefix(cut_model: Subject) -> None:
    """Everything before a site could be broken: resuming from the site does not run it."""
    classifier = pickle.loads(pickle.dumps(cut_model.classifier))
    logits, latents = classifier.trace(cut_model.x)

    def broken(*_: object) -> None:
        raise AssertionError("the prefix ran")

    for segment, (site, latent) in zip(classifier.segments, latents.items(), strict=False):
        segment.register_forward_pre_hook(broken)
        torch.testing.assert_close(classifier.resume(site, latent, cut_model.x), logits)
    with pytest.raises(AssertionError, match="the prefix ran"):
        classifier.logits(cut_model.x)


@torch.inference_mode()
def test_resume_computes_less_the_later_it_starts(cut_model: Subject) -> None:
    """Floating-point operations fall from site to site; those before and after a site add up to a whole forward."""
    latents = cut_model.classifier.trace(cut_model.x).latents
    spent = []
    for site, latent in {INPUT: cut_model.x, **latents}.items():
        with FlopCounterMode(display=False) as counter:
            cut_model.classifier.resume(site, latent, cut_model.x)
        spent.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        cut_model.model(cut_model.x)
    assert spent[0] == counter.get_total_flops()
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[1] > 0
    assert spent[-1] < spent[0] / 2


def test_batch_norms_are_folded() -> None:
    """No batch norm is left in a model whose batch norms all follow a convolution."""
    for name in ("plain", "residual"):
        model, classifier = subject(name).model, subject(name).classifier
        assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        targets = [str(node.target) for segment in classifier.segments for node in segment.graph.nodes]
        assert any("conv" in target for target in targets)
        assert not any("batch_norm" in target for target in targets)


def test_batch_norm_that_follows_no_convolution_is_kept() -> None:
    """A batch norm before the first convolution still does its work."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = nn.Sequential(nn.BatchNorm2d(3), tiny_model("plain"))
        nn.init.normal_(before[0].running_mean)
        nn.init.uniform_(before[0].running_var, 0.5, 2.0)
    model = before.eval()
    x, classifier = tiny_images("plain", 4), wrap(model, **PLAIN)
    assert isinstance(classifier, TorchClassifier)
    with torch.inference_mode():
        torch.testing.assert_close(classifier.logits(x), model(x), rtol=1e-4, atol=1e-4)


class SharedConvolution(nn.Module):
    """A convolution whose output is normalised and also used as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 3)``."""
        h = self.conv(x)
        return self.fc(F.relu(self.norm(h) + h).mean((2, 3)))


def test_convolution_with_two_users_is_not_folded() -> None:
    """Folding changes a convolution's output, so one that something else also reads stays as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SharedConvolution()
        nn.init.normal_(model.norm.running_mean)
        nn.init.uniform_(model.norm.running_var, 0.3, 3.0)
    model.eval()
    x, classifier = tiny_images("one-logit", 4), wrap(model, **GREY)
    assert isinstance(classifier, TorchClassifier)
    with torch.inference_mode():
        torch.testing.assert_close(classifier.logits(x), model(x), rtol=1e-4, atol=1e-4)


class SizeDivides(nn.Module):
    """Divides by the area of its input, which a trace turns into a number unless it keeps the area apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 3)``."""
        area = x.shape[2] * x.shape[3]
        return self.fc(F.relu(self.conv(x)).sum((2, 3)) * 4 / area)


@pytest.mark.parametrize("size", [16, 12, 9])
@pytest.mark.parametrize("name", [name for name, tiny in TINY.items() if tiny.elastic])
@torch.inference_mode()
def test_elastic_means_equal_at_other_sizes(name: str, size: int) -> None:
    """A classifier that calls itself elastic gives what the bare model gives for inputs of another size."""
    part = subject(name)
    x = F.interpolate(part.x, size=(size, size))
    torch.testing.assert_close(part.classifier.logits(x), two_logits(part.model(x)), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_trace_with_its_size_written_in_is_not_elastic() -> None:
    """A model whose graph would run at other sizes, but wrongly, is not called elastic."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SizeDivides().eval()
    classifier = wrap(model, **PLAIN)
    small = tiny_images("plain", 2)[..., :8, :8]
    same = torch.allclose(classifier.logits(small), model(small), atol=1e-5)
    assert classifier.elastic == same


# --- sites


def test_sites_lie_at_the_ends_of_stages(plain: Subject) -> None:
    """Without names, the sites are ends and middles of the stages of one resolution, and the input of the head."""
    with torch.inference_mode():
        latents = plain.classifier.trace(plain.x).latents
    assert plain.classifier.sites[-1] == PENULTIMATE
    assert latents["stage1.2"].shape == (8, 8, 16, 16)
    assert latents["stage3.2"].shape == (8, 12, 8, 8)
    torch.testing.assert_close(latents[PENULTIMATE], latents["stage3.2"].mean((2, 3)))


@torch.inference_mode()
def test_latents_are_the_modules_outputs() -> None:
    """A site named by a module carries what that module returns, batch norm and activation included."""
    model = tiny_model("residual")
    classifier = wrap(model, input_shape=(3, 16, 16), bounds=(0.0, 255.0), sites=("block3", "block1"))
    assert classifier.sites == ("block1", "block3")
    seen: dict[str, Tensor] = {}
    for name in classifier.sites:
        model.get_submodule(name).register_forward_hook(lambda *a, name=name: seen.__setitem__(name, a[2]))
    x = tiny_images("residual", 4)
    model(x)
    for site, latent in classifier.trace(x).latents.items():
        torch.testing.assert_close(latent, seen[site], rtol=1e-4, atol=1e-3)


@torch.inference_mode()
def test_transformer_has_token_latents() -> None:
    """The blocks of a vision transformer are sites of shape (batch, tokens, width)."""
    part = subject("transformer")
    shapes = {site: tuple(latent.shape) for site, latent in part.classifier.trace(part.x).latents.items()}
    assert shapes["block1"] == (8, 10, 16)
    assert shapes[PENULTIMATE] == (8, 16)


@torch.inference_mode()
def test_penultimate_feeds_the_head(any_model: Subject) -> None:
    """Where the last layer is linear, its weight is known and the site before it carries its input."""
    classifier = any_model.classifier
    if classifier.head_weight is None:
        assert PENULTIMATE not in classifier.sites
        return
    logits, latents = classifier.trace(any_model.x)
    products = latents[PENULTIMATE] @ classifier.head_weight.T
    torch.testing.assert_close(logits - products, (logits - products)[:1].expand_as(logits), rtol=1e-3, atol=1e-3)


def test_sites_the_user_names(plain: Subject) -> None:
    """Named sites are kept, in the order of computation, whatever the order of naming."""
    classifier = wrap(plain.model, **PLAIN, sites=("stage3.2", "stage1.2"))
    assert classifier.sites == ("stage1.2", "stage3.2")
    with torch.inference_mode():
        logits, latents = classifier.trace(plain.x)
        torch.testing.assert_close(classifier.resume("stage1.2", latents["stage1.2"], plain.x), logits)


def test_no_sites_are_possible(plain: Subject) -> None:
    """A classifier without sites still gives logits."""
    classifier = wrap(plain.model, **PLAIN, sites=())
    assert classifier.sites == ()
    assert classifier.head_weight is None
    with torch.inference_mode():
        torch.testing.assert_close(classifier.trace(plain.x).logits, plain.classifier.logits(plain.x))


@pytest.mark.parametrize(("name", "listed"), [("plain", "stage3.2"), ("branching", "conv3")])
def test_unknown_site_lists_what_there_is(name: str, listed: str) -> None:
    """The error names the site that is missing and those that there are."""
    part = subject(name)
    with pytest.raises(ModelError, match=rf"no site 'layer9' in this model; it can be cut at: .*{listed}"):
        wrap(part.model, input_shape=part.tiny.shape, bounds=part.tiny.bounds, sites=("layer9",))


# --- hooks


def test_fallback_says_so_once(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that cannot be cut is announced when it is wrapped, never again, and torch.export prints nothing."""
    with caplog.at_level(logging.WARNING):
        classifier = wrap(tiny_model("branching"), **GREY)
        x = tiny_images("branching", 2)
        for site, latent in classifier.trace(x).latents.items():
            classifier.resume(site, latent, x)
    assert [record.name for record in caplog.records] == ["ce_detect"]
    assert "cannot cut BranchingCNN" in caplog.text
    assert "every resume costs a whole forward" in caplog.text
    assert capfd.readouterr() == ("", "")


@torch.inference_mode()
def test_hooks_survive_work_in_place() -> None:
    """A latent that the model goes on to overwrite is kept as it was, and resuming from it is exact."""
    classifier = wrap(tiny_model("branching"), **GREY, sites=("conv1", "conv2", "relu2"))
    x = tiny_images("branching", 4)
    logits, latents = classifier.trace(x)
    torch.testing.assert_close(latents["conv1"], tiny_model("branching").conv1(x))
    for site, latent in latents.items():
        torch.testing.assert_close(classifier.resume(site, latent, x), logits)


@torch.inference_mode()
def test_hooks_are_removed_even_after_an_error() -> None:
    """A forward that fails leaves no hook behind that would change later answers."""
    part = subject("branching")
    before = part.classifier.logits(part.x)
    with pytest.raises(OverflowError):
        part.classifier.trace(part.x * 1e9)
    with pytest.raises(OverflowError):
        part.classifier.resume("conv3", torch.zeros(8, 8, 3, 3), part.x * 1e9)
    assert torch.equal(part.classifier.logits(part.x), before)


def test_model_whose_trace_disagrees_is_hooked(caplog: pytest.LogCaptureFixture) -> None:
    """A model that never answers twice alike disagrees with its graph, and the log says so."""
    model = around("plain", lambda z: z + torch.randn_like(z))
    with caplog.at_level(logging.WARNING):
        classifier = wrap(model, **PLAIN)
    assert isinstance(classifier, HookClassifier)
    assert "the traced graph of Around disagrees with it" in caplog.text


# --- what cannot be wrapped


def test_one_logit_is_read_as_log_odds() -> None:
    """One output is the log-odds of class 1: two logits whose difference it is, and whose sum is zero."""
    part = subject("one-logit")
    with torch.inference_mode():
        logits, odds = part.classifier.logits(part.x), part.model(part.x)
        column = wrap(around("one-logit", lambda z: z[:, None]), **GREY).logits(part.x)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], odds)
    torch.testing.assert_close(logits.sum(1), torch.zeros(8))
    torch.testing.assert_close(column, logits)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("plain", lambda z: z.softmax(1)),
        ("plain", torch.sigmoid),
        ("one-logit", torch.sigmoid),
        ("one-logit", lambda z: torch.sigmoid(z)[:, None]),
        ("branching", lambda z: z.softmax(1)),
        ("branching", torch.sigmoid),
        ("branching", lambda z: torch.sigmoid(z)[:, 1:3].reshape(-1, 2)),
    ],
)
def test_probabilities_are_refused(name: str, function: object) -> None:
    """A model that ends in a softmax or a sigmoid is refused with the remedy, whether it can be cut or not."""
    part = subject(name)
    with pytest.raises(ModelError, match=r"returns probabilities.*Remove the final softmax or sigmoid"):
        wrap(around(name, function), input_shape=part.tiny.shape, bounds=part.tiny.bounds)


@pytest.mark.parametrize("name", ["plain", "branching"])
@torch.inference_mode()
def test_one_label_of_several_is_watched(name: str) -> None:
    """A label of a multi-label model is a decision of its own: two logits whose difference its logit is."""
    part = subject(name)
    settings = {"input_shape": part.tiny.shape, "bounds": part.tiny.bounds, "multi_label": True}
    several, one = wrap(part.model, **settings), wrap(part.model, **settings, label=2)
    z = part.model(part.x)
    torch.testing.assert_close(several.logits(part.x), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.logits(part.x), two_logits(z[:, 2]), rtol=1e-4, atol=1e-4)
    assert (several.multi_label, several.label, several.num_classes) == (True, None, 4)
    assert (one.multi_label, one.label, one.num_classes) == (False, 2, 2)
    assert one.sites == several.sites == part.classifier.sites
    assert one.fingerprint() == part.classifier.fingerprint()
    logits, latents = one.trace(part.x)
    for site, latent in latents.items():
        torch.testing.assert_close(one.resume(site, latent, part.x), logits)
    if name == "plain":
        bias = two_logits(part.model.head.bias[2:3])
        torch.testing.assert_close(latents[PENULTIMATE] @ one.head_weight.T + bias, logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": 2}, r"label = 2 is for a multi-label model.*add multi_label=True"),
        ({"label": 4, "multi_label": True}, r"label = 4, but PlainCNN has 4 labels, 0 to 3"),
        ({"label": -1, "multi_label": True}, r"label = -1, but PlainCNN has 4 labels"),
    ],
)
def test_labels_that_are_none_are_refused(plain: Subject, options: dict[str, object], message: str) -> None:
    """The error says which labels there are, or that classes are no labels."""
    with pytest.raises(ModelError, match=message):
        wrap(plain.model, **PLAIN, **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.inference_mode()
def test_any_precision_is_float32_outside(any_model: Subject, dtype: torch.dtype) -> None:
    """Pixels are cast to the type of the weights; logits and latents come back as float32 and go in again."""
    model = any_model.model.to(dtype)
    classifier = wrap(model, input_shape=any_model.tiny.shape, bounds=any_model.tiny.bounds)
    assert type(classifier) is type(any_model.classifier)
    assert classifier.sites == any_model.classifier.sites
    assert classifier.fingerprint() != any_model.classifier.fingerprint()
    expected = two_logits(model(any_model.x.to(dtype)).float())
    slack = classifier.tolerance * float(expected.abs().max())
    logits, latents = classifier.trace(any_model.x)
    torch.testing.assert_close(logits, expected, rtol=classifier.tolerance, atol=slack)
    for site, latent in latents.items():
        assert latent.dtype == torch.float32
        torch.testing.assert_close(classifier.resume(site, latent, any_model.x), logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(at_float32(model)(any_model.x), model(any_model.x.to(dtype)))


def test_log_probabilities_are_logits(plain: Subject) -> None:
    """A log-softmax only shifts the logits of an input, so it is accepted."""
    classifier = wrap(around("plain", lambda z: z.log_softmax(1)), **PLAIN)
    with torch.inference_mode():
        expected = plain.model(plain.x).log_softmax(1)
        torch.testing.assert_close(classifier.logits(plain.x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: (z, z), r"Around returns tuple, expected one tensor of logits.*forward returns the logits only"),
        (lambda z: {"logits": z}, "Around returns dict"),
        (lambda z: z[:, :, None], r"returns shape \(4, 4, 1\) for 4 inputs, expected \(4, classes\)"),
        (lambda z: z.sum(), r"returns shape \(\) for 4 inputs"),
        (lambda z: z.argmax(1, keepdim=True).repeat(1, 3), "not finite logits"),
        (lambda z: z * torch.nan, "not finite logits"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(function: object, message: str) -> None:
    """The error says what the model returned and what was expected."""
    with pytest.raises(ModelError, match=message):
        wrap(around("branching", function), **GREY)


@pytest.mark.parametrize(
    ("name", "shape"), [("plain", (1, 16, 16)), ("transformer", (3, 13, 13)), ("in-place", (1, 28, 28))]
)
def test_wrong_input_shape_is_a_model_error(name: str, shape: tuple[int, int, int]) -> None:
    """Whatever the model raises on a shape that it was not built for, the error says which shape and what to do."""
    listed = ", ".join(map(str, shape))
    with pytest.raises(ModelError, match=rf"fails on an input of shape \('batch', {listed}\).*input_shape="):
        wrap(tiny_model(name), input_shape=shape, bounds=(0.0, 1.0))


def test_training_mode_is_refused() -> None:
    """A model with any part in training mode is refused, and the part is named."""
    model = tiny_model("in-place")
    model.classifier[0].train()
    with pytest.raises(ModelError, match=r"InPlaceCNN is in training mode \(classifier\.0\).*Call model\.eval\(\)"):
        wrap(model, input_shape=(1, 12, 12), bounds=(-1.0, 1.0))
    with pytest.raises(ModelError, match="in training mode"):
        unwrapped(model.train())


def test_something_else_than_a_module_is_refused() -> None:
    """A state dict or a function is refused by its type."""
    with pytest.raises(ModelError, match=r"expected a torch\.nn\.Module, got OrderedDict"):
        wrap(tiny_model("plain").state_dict(), **PLAIN)


# --- wrappings and fingerprints


def test_compiled_and_parallel_modules_are_unwrapped(plain: Subject) -> None:
    """The module inside torch.compile, DataParallel or both is what gets wrapped."""
    with warnings.catch_warnings():  # importing the compiler warns about its own internals
        warnings.simplefilter("ignore")
        compiled = torch.compile(plain.model)
    for outer in (compiled, nn.DataParallel(plain.model), nn.DataParallel(compiled), plain.model):
        assert unwrapped(outer) is plain.model
    assert wrap(nn.DataParallel(plain.model), **PLAIN).fingerprint() == plain.classifier.fingerprint()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("plain", "stage1.0.weight"), ("plain", "stage1.1.running_var"), ("branching", "fc.bias")],
)
def test_fingerprint_is_that_of_the_weights(name: str, tensor: str) -> None:
    """Two copies of one model have one fingerprint; a weight or a statistic that differs a little gives another."""
    part = subject(name)
    settings = {"input_shape": part.tiny.shape, "bounds": part.tiny.bounds, "sites": ()}
    assert wrap(part.model, **settings).fingerprint() == part.classifier.fingerprint()
    with torch.no_grad():
        part.model.state_dict()[tensor].view(-1)[0] += 1e-3
    assert wrap(part.model, **settings).fingerprint() != part.classifier.fingerprint()


def test_probe_is_fixed_and_within_bounds(any_model: Subject) -> None:
    """The probe is one input of the right shape within the bounds, not constant, and the same every time."""
    probe = any_model.classifier.probe()
    low, high = any_model.tiny.bounds
    assert probe.shape == (1, *any_model.tiny.shape)
    assert low <= float(probe.min()) < float(probe.max()) <= high
    assert torch.equal(probe, any_model.classifier.probe())


def test_cut_classifier_survives_pickling(cut_model: Subject) -> None:
    """Worker processes get the classifier by pickle: the copy gives the same logits."""
    other = pickle.loads(pickle.dumps(cut_model.classifier))
    with torch.inference_mode():
        assert torch.equal(other.logits(cut_model.x), cut_model.classifier.logits(cut_model.x))
