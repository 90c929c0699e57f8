"""The threat model's page and the code call techniques of MITRE ATLAS by the same names."""

from __future__ import annotations

import re
from pathlib import Path

from ce_detect.evaluate.assessment import TERMS
from ce_detect.monitor.alarms import MITIGATIONS, TECHNIQUES

PAGE = (Path(__file__).parents[2] / "docs" / "explanations" / "threat-model.md").read_text()


def test_techniques_and_mitigations_of_the_code_are_on_the_page() -> None:
    """Each with its number and its name; a name may have that of its parent before it."""
    known = dict(re.findall(r"^\| (AML\.[TM][\d.]+) ([^|]+?) \|", PAGE, re.MULTILINE))
    assert len(known) == 16
    said = [term for terms in TERMS.values() for term in (terms.atlas, terms.atlas_access)]
    said += [name for names in (*TECHNIQUES.values(), *MITIGATIONS.values()) for name in names]
    found = {number: name.rpartition(": ")[2] for number, _, name in (one.partition(" ") for one in said)}
    assert found.items() <= known.items()
