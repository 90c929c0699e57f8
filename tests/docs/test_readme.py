"""README and docs: their figures are those of the results that are kept; programs and files that they name exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import prose

from benchmarks import overview, provenance, tables
from benchmarks.program import read
from ce_detect import TooFewSamplesError
from ce_detect.calibrate import enough
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.verdict import conformal

README = (tables.ROOT / "README.md").read_text()
DOCS = "\n".join(path.read_text() for path in tables.documents())


def test_tables_say_what_the_results_say() -> None:
    """After a benchmark has run again, ``python -m benchmarks.tables`` brings the documents up to date."""
    for path in tables.documents():
        assert tables.filled(path.read_text()) == path.read_text()
    assert tables.places() == tables.TABLES.keys()


def test_every_table_says_when_and_how() -> None:
    """Each has its command, a program that exists, and the day of its results as they are kept."""
    assert provenance.SOURCES.keys() == tables.TABLES.keys()
    assert provenance.record() == read(provenance.DATES)
    for source in (*provenance.SOURCES.values(), *provenance.PICTURES.values()):
        said = provenance.caption(source)
        assert re.match(r"\*(\d{4}-\d\d-\d\d|not measured yet).*: `python -m benchmarks\.\w+", said)


def test_captions_name_the_options_that_were_used() -> None:
    """As far as the results say what these were."""
    said = {name: provenance.caption(source) for name, source in provenance.SOURCES.items()}
    for path in (provenance.ROOT / "pretrained" / "results").glob("*.json"):
        found = read(path)
        (command,) = re.findall(rf"--photographs FOLDER --only {path.stem}([^`]*)`", said["pretrained"])
        assert found["recipe"] == "large" or f"--recipe {found['recipe']}" in command
        assert sum(found["images"].values()) == 600 or f"--limit {sum(found['images'].values())}" in command
        assert (found["attack_time"] is None) == ("--attack-time" not in command)
    runs = read(provenance.ROOT / "campaigns" / "results" / "campaigns.json")["rows"]
    (asked,) = {f"--inputs {run['inputs']} --calibrations {run['calibrations']}" for run in runs}
    assert asked in said["campaigns"]
    maps = read(provenance.ROOT / "explain" / "results" / "attacked-pneumonia.json")["rows"]
    assert f"--images {max(row['images'] for row in maps)}`" in said["explain-attacked"]
    subjects = [row["subject"] for row in read(provenance.ROOT / "detection" / "results" / "cascade.json")["rows"]]
    assert set(subjects) == set(said["cascade"].partition("--only ")[2].partition("`")[0].split())
    budgets = [read(path)["budgets"] for path in (provenance.ROOT / "detection" / "results").glob("detection-*.json")]
    assert {one["budget"] for some in budgets for one in some} == {2}
    assert "--budgets 2`" in said["detection"]


def test_every_picture_of_results_says_when_and_how() -> None:
    """Below each of them, as below tables."""
    shown = set(re.findall(r"benchmarks/[\w/]+/results/([\w-]+)\.png", DOCS))
    assert shown == provenance.PICTURES.keys() == set(re.findall(r"<!-- drawn: (\S+) -->", DOCS))


def test_results_that_change_get_a_new_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that stay keep theirs."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(name)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "DATES", tmp_path / "dates")
    monkeypatch.setattr(provenance, "SOURCES", {"t": provenance.Source(("*.json",), ("x",))})
    provenance.keep(provenance.record("2026-01-01"))
    (tmp_path / "b.json").write_text("other")
    provenance.keep(provenance.record("2026-01-02"))
    assert {name: one["day"] for name, one in read(tmp_path / "dates").items()} == {
        "a.json": "2026-01-01",
        "b.json": "2026-01-02",
    }
    assert provenance.caption(provenance.SOURCES["t"]) == "*2026-01-01 to 2026-01-02: `python -m benchmarks.x`*"


def test_programs_and_results_that_are_named_exist() -> None:
    """A command can be copied, and a picture is shown."""
    programs = re.findall(r"python -m ((?:benchmarks|docs\.programs)[\w.]+)", DOCS)
    assert len(programs) > 10
    assert [name for name in programs if importlib.util.find_spec(name) is None] == []
    files = re.findall(r"benchmarks/[\w./*-]+", DOCS)
    assert [name for name in files if not any(tables.ROOT.glob(name.rstrip("/.")))] == []


def test_the_readme_is_short() -> None:
    """A newcomer reads it to the end; what was measured stands in the docs."""
    assert README.count("\n") <= 150
    assert README.count("\n| ") == 2 + len(overview.ROWS) == 8


def test_figures_in_the_readme_are_those_of_the_results() -> None:
    """What its sentences say beside the table."""
    head, *rows = overview.overview()
    (ratio,) = (row[head.index("**ce-detect**")] for row in rows if row[0].startswith("Larger change"))
    assert f"{ratio} as large" in README
    peers = [path for path in (overview.FOLDER / overview.SUBJECT).glob("*.json") if overview.is_peer(path.stem)]
    assert len(peers) == 16
    assert "the sixteen published methods" in README
    beside = read(overview.FOLDER / overview.SUBJECT / "beyond.json")
    assert len(beside["attacks"]) == 9
    assert len({name.rpartition(" ")[0] for name in beside["corruptions"]}) == len(beside["corruptions"]) / 2 == 7
    assert "of the same nine attacks, and of seven kinds of natural change at two strengths" in README
    radius = read(overview.ADAPTIVE)["rows"]["unhardened"]
    assert (radius["images"], radius["ratio"]["low"]) == (32, 1)
    assert "On the 32 images that were tried, 1.00 is within the error" in README
    few = [read(overview.FOLDER / overview.SUBJECT / f"{name}.json")["n"]["corrupted"] for name in ("beyond", "ml-loo")]
    assert f"so\nthey judged few images: {few[0]} and {few[1]} of each kind" in README
    assert len(tables.TABLES["detection"]()) - 1 == 6
    assert "five more\nmodels" in README


def test_many_of_the_false_alarms_are_wrong_answers() -> None:
    """As the README says, on the CIFAR-10 models."""
    for subject in ("cifar10-resnet20", "cifar10-resnet32"):
        clean: dict[str, Any] = read(overview.DETECTION / f"detection-{subject}.json")["budgets"][0]["report"]["clean"]
        wrong = clean["false_positive_rate_misclassified"] * (1 - clean["accuracy"])
        assert 0.395 < wrong / clean["false_positive_rate"] < 0.505
    assert "Some 40 to 50 % of the false alarms" in README


@pytest.mark.parametrize("recipe", ["default", "large"])
@pytest.mark.parametrize("rate", [0.05, 0.01])
def test_the_page_on_few_images_says_how_many_are_needed(recipe: str, rate: float) -> None:
    """As calibration itself does when it refuses."""
    needed = []
    for guarantee in ("pac", "marginal"):
        settings = CalibrationSettings.of(recipe=recipe, fpr=rate, guarantee=guarantee)
        with pytest.raises(TooFewSamplesError) as told:
            enough.check(20, settings)
        needed.append(str(told.value.needed))
    page = (tables.ROOT / "docs" / "how-to" / "few-images.md").read_text()
    assert f"| `{recipe}` | {rate:.0%} | ".replace("%", " %") + " | ".join(needed) + " |" in page


def test_the_page_on_the_promise_counts_as_the_code_does() -> None:
    """The ranks that its example prints."""
    page = (tables.ROOT / "docs" / "explanations" / "promise.md").read_text()
    for guarantee, said in (("marginal", 'marginal"))  # {} of'), ("pac", 'pac"))  # {}')):
        assert said.format(conformal.rank(300, 0.05, guarantee=guarantee)) in page  # type: ignore[arg-type]


def test_the_citation_names_the_version_and_the_licence() -> None:
    """Of this package; the changelog and the security policy are there, too."""
    cited = yaml.safe_load((tables.ROOT / "CITATION.cff").read_text())
    package = (tables.ROOT / "pyproject.toml").read_text()
    assert f'version = "{cited["version"]}"' in package
    assert f'license = "{cited["license"]}"' in package
    assert "## [Unreleased]" in (tables.ROOT / "CHANGELOG.md").read_text()
    assert {"CHANGELOG.md", "SECURITY.md"} <= {path.name for path in prose.pages(tables.ROOT)}


def test_an_empty_place_is_filled_and_a_full_one_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The markers may follow each other at once; what stands between them goes."""
    monkeypatch.setattr(tables, "TABLES", {"readme": lambda: [["a"], ["b"]]})
    for between in ("", "\n", "old\n\nolder\n"):
        full = tables.filled(f"x\n<!-- table: readme -->\n{between}<!-- end -->\ny\n")
        assert full.startswith("x\n<!-- table: readme -->\n| a |\n| --- |\n| b |\n\n*")
        assert full.endswith("*\n<!-- end -->\ny\n")
        assert tables.filled(full) == full
