"""The command line: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import json
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress
from support.command_line import Called, call, call_without

from ce_detect.artifacts.manifest import Promise
from ce_detect.cli import doctor
from ce_detect.cli._figures import mean_detection, promise
from ce_detect.cli._group import COMMANDS
from ce_detect.cli._options import Duration
from ce_detect.cli._progress import LINE_EVERY, Bar, Lines, in_words

HEAVY = ("torch", "sklearn", "scipy", "art", "numpy", "rich")

RECIPE = """
head = "logistic"
[splits]
fit = 0.5
select = 0.15
calibrate = 0.25
test = 0.1
[[attack]]
kind = "fgsm"
[[intervention]]
kind = "Flip"
[[intervention]]
kind = "Shift"
dx = 1
dy = 0
"""


@dataclass(frozen=True)
class Calibrated:
    """An artifact that the command line made, with what it printed."""

    folder: Path
    guard: Path
    printed: Any


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """One calibration of the demo classifier, on few images and with one attack, by configuration file and flags."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(RECIPE)
    config = folder / "config.toml"
    given = 'model = "demo"\ndata = "demo"\nlimit = 400\nbudget = inf\nfpr = 0.5\nattack-time = "5m"\n'
    config.write_text(f'{given}cache = "{folder / "cache"}"')
    guard = folder / "guard.safetensors"
    recipe = ("--recipe", folder / "tiny.toml", "--fpr", 0.05)
    done = call("calibrate", "--config", config, *recipe, "--output", guard, "--json")
    assert done.code == 0, done.err
    return Calibrated(folder, guard, done.data)


def test_a_cascade_says_whom_it_clears_and_what_others_cost(calibrated: Calibrated) -> None:
    """When it is calibrated, and whenever the artifact is looked at."""
    guard, recipe = calibrated.folder / "cascade.safetensors", calibrated.folder / "tiny.toml"
    config = ("--config", calibrated.folder / "config.toml")
    done = call("calibrate", *config, "--recipe", recipe, "--fpr", 0.05, "--output", guard, "--cascade")
    assert done.code == 0, done.err
    for said in (done.out, call("inspect", guard).out):
        text = " ".join(said.split())
        assert "on average over clean inputs, of which" in text
        assert "others cost" in text


def evaluate(calibrated: Calibrated, *more: object) -> Called:
    """Evaluate the artifact on its own images: enough to see what is printed."""
    cache = ("--cache", calibrated.folder / "cache")
    return call("evaluate", calibrated.guard, "--model", "demo", "--data", "demo", "--limit", 150, *cache, *more)


# ---- start and help


def test_help_is_quick_and_light() -> None:
    """The list of commands needs none of the heavy packages and well under a second."""
    source = (
        "import sys; from ce_detect.cli import run; code = run(['--help'])\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules], code)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    print(f"ce-detect --help: {seconds:.2f} s")
    assert done.stdout.rstrip().endswith("heavy: [] 0")
    assert seconds < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_list_of_commands_repeats_their_help(name: str) -> None:
    """The line in the list of commands is the first line of the command's own help."""
    command = importlib.import_module(f"ce_detect.cli.{name}").command
    assert command.name == name
    assert command.help.splitlines()[0] == COMMANDS[name]
    assert {"config", "as_json", "seed"} <= {parameter.name for parameter in command.params}


def test_help_of_a_command() -> None:
    """A command's own help names its flags."""
    done = call("calibrate", "--help")
    assert done.code == 0
    assert "--attack-time" in done.out


def test_no_command_prints_help() -> None:
    """Without a command the help is printed, and the exit code says that nothing was done."""
    done = call()
    assert (done.code, done.out) == (2, "")
    assert "calibrate" in done.err


def test_version() -> None:
    """The version is the package's."""
    import ce_detect

    assert call("--version").out == f"ce-detect {ce_detect.__version__}\n"


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["calibrate", "--data", "demo"], "--model"),
        (["calibrate", "--model", "demo", "--data", "demo", "--fpr", "1.5"], "--fpr"),
        (["calibrate", "--model", "demo", "--data", "demo", "--budget", "1"], "--budget"),
        (["calibrate", "--model", "demo", "--data", "demo", "--attack-time", "5d"], "'5d' is not a time"),
        (["calibrate", "--model", "demo", "--data", "demo", "--recipe", "nope"], "no recipe 'nope'"),
        (["calibrate", "--model", "demo", "--data", "nope"], "'nope' is no data"),
        (["calibrate", "--model", "nope.onnx", "--data", "demo"], "ONNX"),
        (["calibrate", "--model", "demo", "--data", "demo", "--output", "no/such/place"], "cannot write no/such/place"),
        (["calibrate", "--model", "demo", "--data", "demo", "--limit", "60"], "images in all would do"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden-split", "train"], "--harden-with"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden-with", "demo"], "harden = 0"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden", "1", "--cascade"], "exclude each other"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden-with", "nope"], "'nope' is no data"),
        (["evaluate", "nope", "--model", "demo", "--data", "demo"], "no artifact at nope"),
        (["evaluate", "nope", "--model", "demo", "--data", "demo", "--attack", "nope"], "no attack 'nope'"),
        (["evaluate", "a", "--model", "demo", "--data", "demo", "--attack", "pgd", "--recipe", "quick"], "one of them"),
        (["inspect"], "GUARD"),
        (["inspect", "pyproject.toml"], "not a whole safetensors file"),
        (["nope"], "nope"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: list[str], told: str) -> None:
    """What makes no sense gives exit code 2 and one line that names it, before any long work."""
    done = call(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert told in done.err


def test_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C gives 130 and says that finished work is kept."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examination", interrupted)
    done = call("doctor")
    assert done.code == 130
    assert "kept in the cache" in done.err


def test_interrupt_of_a_fresh_demo_promises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo with a temporary cache keeps nothing, and says so."""

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ce_detect.guard.demonstration.demonstrate", interrupted)
    done = call("demo", "--fresh")
    assert (done.code, done.err) == (130, "interrupted: of a --fresh demo nothing is kept\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("1.5h", 5400), (90, 90), ("2 m", 120)]
)
def test_attack_time(text: object, seconds: float) -> None:
    """A time may have a unit; seconds go without."""
    assert Duration().convert(text, None, None) == seconds


# ---- configuration


def test_unknown_key_names_the_known_ones(tmp_path: Path) -> None:
    """A misspelt key is refused, with the keys that there are."""
    config = tmp_path / "config.toml"
    config.write_text("fprr = 0.1")
    done = call("calibrate", "--config", config)
    assert done.code == 2
    assert "unknown key 'fprr'" in done.err
    assert "attack-time, bounds, budget" in done.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fpr =", "not valid TOML"),
        ("fpr = 7", "--fpr"),
        ("limit = 1.5", "--limit"),
        ("jobs = true", "--jobs"),
        ("bounds = 1", "--bounds"),
        ("[model]\nname = 1", "'model' is a table"),
        ('guarantee = "none"', "--guarantee"),
    ],
)
def test_bad_value_in_a_config(tmp_path: Path, text: str, told: str) -> None:
    """A value in a file is checked as a flag is."""
    config = tmp_path / "config.toml"
    config.write_text(text)
    done = call("calibrate", "--model", "demo", "--data", "demo", "--config", config)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert told in done.err


def test_missing_config() -> None:
    """A configuration file that is not there is named."""
    done = call("doctor", "--config", "nope.toml")
    assert done.code == 2
    assert "nope.toml" in done.err


def test_config_stands_in_for_flags(tmp_path: Path) -> None:
    """A file and flags that say the same give the same, with dashes or underscores, also for flags without a value."""
    config = tmp_path / "config.toml"
    config.write_text("json = true\nattacks = true\ninterventions = false")
    assert call("doctor", "--config", config).data == call("doctor", "--json", "--attacks").data


@pytest.mark.parametrize("key", ["max-fpr", "max_fpr"])
def test_flags_win_over_config(calibrated: Calibrated, tmp_path: Path, key: str) -> None:
    """What is said on the command line counts."""
    config = tmp_path / "config.toml"
    config.write_text(f'{key} = 0.0\nattack = ["fgsm"]\njson = true')
    checks = evaluate(calibrated, "--config", config, "--max-fpr", 1, "--no-corruptions").data["checks"]
    assert [check["limit"] for check in checks] == [1]


# ---- calibrate, evaluate, inspect


def test_calibrate_prints_the_manifest(calibrated: Calibrated) -> None:
    """The JSON names the file and holds what the flags and the configuration said."""
    manifest = calibrated.printed["manifest"]
    assert calibrated.printed["output"] == str(calibrated.guard)
    assert (manifest["fpr"], manifest["budget"], manifest["data"]["images"]) == (0.05, None, 400)
    assert manifest["recipe"]["name"] == "tiny"
    assert len(manifest["signature"]["names"]) == 2
    assert calibrated.guard.is_file()


def test_inspect_prints_the_manifest(calibrated: Calibrated) -> None:
    """The artifact holds what calibration printed."""
    assert call("inspect", calibrated.guard, "--json").data == calibrated.printed["manifest"]


def test_config_may_name_the_artifact(calibrated: Calibrated, tmp_path: Path) -> None:
    """An argument without a flag has a key too."""
    config = tmp_path / "config.toml"
    config.write_text(f'guard = "{calibrated.guard}"\njson = true')
    assert call("inspect", "--config", config).data == calibrated.printed["manifest"]


def test_inspect_in_words(calibrated: Calibrated) -> None:
    """People read the promise, the cost and the figures of the attacks."""
    done = call("inspect", calibrated.guard)
    assert done.code == 0
    assert "at most 5 % of clean inputs flagged, with confidence 95 %" in done.out
    assert "fgsm 8/255" in done.out


def test_inspect_needs_no_extra(calibrated: Calibrated) -> None:
    """An artifact can be read where only the light core is installed."""
    done = call_without(("torch", "sklearn", "scipy", "art"), "inspect", calibrated.guard)
    assert done.code == 0, done.err
    assert "with confidence 95 %" in done.out


def test_evaluate_prints_figures(calibrated: Calibrated, tmp_path: Path) -> None:
    """The same figures go to stdout and to the file, also those of benign change and of the clean-only detector."""
    output = tmp_path / "report.json"
    done = evaluate(calibrated, "--json", "--output", output)
    assert done.code == 0, done.err
    assert {"jpeg 1", "rotation 2"} <= set(done.data["report"]["corruptions"])
    assert 0 < done.data["report"]["attacks"]["fgsm 8/255"]["clean_only"]["auroc_successes"] < 1
    assert done.data["report"]["clean"]["n"] == 150
    assert list(done.data["report"]["attacks"]) == ["fgsm 8/255"]
    assert json.loads(output.read_text()) == done.data


def test_evaluate_in_words(calibrated: Calibrated) -> None:
    """People read a row an attack and a row a corruption, and the false-positive rate beside its target."""
    done = evaluate(calibrated, "--attack", "fgsm")
    assert done.code == 0, done.err
    for told in ("target 5 %", "fgsm 8/255", "clean-only", "gaussian-noise 1", "flagged of same decision"):
        assert told in " ".join(done.out.split())


def test_benign_change_may_be_left_out(calibrated: Calibrated) -> None:
    """Then no corruption is listed."""
    done = evaluate(calibrated, "--no-corruptions", "--json")
    assert done.data["report"]["corruptions"] == {}


@pytest.mark.parametrize(
    ("check", "code"),
    [(("--max-fpr", 1), 0), (("--max-fpr", 0), 1), (("--min-detection", 0), 0), (("--min-detection", 1), 1)],
)
def test_failed_check_is_exit_code_1(calibrated: Calibrated, check: tuple[str, float], code: int) -> None:
    """A figure beyond its limit gives 1, and the figures are printed all the same."""
    done = evaluate(calibrated, *check, "--no-corruptions", "--json")
    assert done.code == code, done.err
    assert done.data["checks"][0]["passed"] == (code == 0)


def test_evaluate_refuses_another_model(calibrated: Calibrated, tmp_path: Path) -> None:
    """A detector does not judge for a model that it was not calibrated for."""
    source = tmp_path / "other.py"
    source.write_text("from ce_detect.classifiers.loading import FashionCNN\ndef make():\n    return FashionCNN()")
    done = call("evaluate", calibrated.guard, "--model", f"{source}:make", "--data", "demo", "--limit", 10)
    assert done.code == 2
    assert "error: this detector was calibrated for a model with fingerprint" in done.err


def test_calibration_images_are_called_out(calibrated: Calibrated) -> None:
    """Figures on the very images of the calibration come with a warning, on stderr."""
    cache = ("--cache", calibrated.folder / "cache")
    data = ("--model", "demo", "--data", "demo", "--limit", 400)
    done = call("evaluate", calibrated.guard, *data, *cache, "--no-corruptions")
    assert "warning: 400 of these 400 images were used in calibration" in done.err
    assert "400 clean images" in done.out


def test_demonstration(calibrated: Calibrated) -> None:
    """The demo's run, on few images and with one-step attacks, fills everything that the demo prints."""
    from ce_detect import Attack, CalibrationSettings
    from ce_detect.cli import demo
    from ce_detect.guard.demonstration import Sizes, demonstrate

    settings = CalibrationSettings.of(
        recipe=calibrated.folder / "tiny.toml", fpr=0.05, cache=calibrated.folder / "cache"
    )
    found = demonstrate(
        settings,
        sizes=Sizes(calibration=400, held_out=100, attacked=64),
        unseen=Attack.of("fgsm", eps="2/255"),
        shown=Attack.of("pgd", max_iter=5),
    )
    assert list(found.report["attacks"]) == ["fgsm 8/255", "fgsm 2/255"]
    assert len(found.report["corruptions"]) == 7
    assert [judged.kind for judged in found.judged] == ["clean", "pgd 8/255"]
    assert found.cost > 0
    assert "p-value" in demo.in_words(found.judged[1])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["unseen"] == ["fgsm 2/255"]


# ---- doctor


def test_doctor_lists_what_pyproject_declares() -> None:
    """The table of dependencies is that of the package."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = {_name(entry): None for entry in project["dependencies"]}
    for extra in ("calibrate", "report", "runtime", "gpu", "parquet"):
        declared |= {_name(entry): extra for entry in project["optional-dependencies"][extra]}
    assert dict(doctor.DEPENDENCIES) == declared


def _name(requirement: str) -> str:
    return requirement.partition(">")[0]


def test_doctor_is_content_here() -> None:
    """Where everything is installed nothing is found wanting."""
    done = call("doctor", "--json", "--attacks", "--interventions")
    assert done.code == 0, done.err
    assert done.data["problems"] == []
    assert {"fgsm", "hopskipjump"} <= {attack["name"] for attack in done.data["attacks"]}
    assert {"Shift", "GaussianNoise"} <= {row["name"] for row in done.data["interventions"]}


def test_doctor_in_words() -> None:
    """People read the packages, the recipes and the registries."""
    done = call("doctor", "--attacks", "--interventions")
    assert done.code == 0
    for told in ("scikit-learn", "clean-only", "Madry et al. 2018", "GridMask"):
        assert told in done.out


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that calibration needs is named with its extra, and the exit code says so."""
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "torch" else "1.0")
    done = call("doctor", "--json", "--interventions")
    assert done.code == 1
    assert "calibration needs torch: pip install 'ce-detect[calibrate]'" in done.data["problems"]
    assert done.data["interventions"] is None


def test_doctor_explains_two_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions that write the same files are called out."""
    monkeypatch.setattr("ce_detect.runtime.providers._installed", lambda name: True)
    assert "pip uninstall onnxruntime onnxruntime-gpu" in call("doctor").out


def test_doctor_runs_on_the_light_core() -> None:
    """Packages that cannot be imported are a finding, not a crash."""
    done = call_without(("torch", "sklearn", "scipy", "art"), "doctor", "--attacks", "--json")
    assert done.code == 1, done.err
    assert "cannot be imported" in done.data["problems"][0]


def test_absent_package_is_one_line() -> None:
    """A command whose packages are absent names the extra instead of a traceback."""
    done = call_without(("torch", "sklearn", "scipy", "art"), "calibrate", "--model", "demo", "--data", "demo")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "pip install 'ce-detect[calibrate]'" in done.err


# ---- progress and words


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a line appears every half minute, with the time left at the speed so far."""
    now = [0.0]
    lines = Lines(clock=lambda: now[0])
    for second in range(0, 100, 10):
        now[0] = float(second)
        lines("attack pgd", 10.0 + second, 110.0)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0] == "attack pgd: 36% done, about 70 s left"
    assert len(told.err.splitlines()) == 99 // LINE_EVERY


def test_bar_starts_again_with_every_phase() -> None:
    """Work that the cache had already done does not count as speed."""
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as progress:
        bar = Bar(progress)
        bar("attack fgsm", 90, 100)
        assert progress.tasks[0].completed == 90
        assert progress.tasks[0].speed is None
        bar("attack fgsm", 100, 100)
        assert progress.tasks[0].total is None
        bar("attack pgd", 1, 70)
        assert (progress.tasks[0].description, progress.tasks[0].total) == ("attack pgd", 70)


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (170, "3 min"), (9000, "2.5 h")])
def test_time_in_words(seconds: float, words: str) -> None:
    """A time is rounded to what helps."""
    assert in_words(seconds) == words


def test_promise_in_words() -> None:
    """The two guarantees read differently."""
    pac = Promise(fpr=0.01, guarantee="pac", confidence=0.9)
    marginal = Promise(fpr=0.01, guarantee="marginal", confidence=0.9)
    assert promise(pac) == "at most 1 % of clean inputs flagged, with confidence 90 %"
    assert promise(marginal) == "at most 1 % of clean inputs flagged, on average over calibrations"


def test_mean_detection_leaves_out_attacks_without_success() -> None:
    """An attack that never succeeded has no rate to average."""
    rates = {"a": 0.5, "b": None, "c": 1.0}
    attacks = {name: {"detection_rate_successes": rate} for name, rate in rates.items()}
    assert mean_detection({"attacks": attacks}) == 0.75
    assert mean_detection({"attacks": {}}) is None
