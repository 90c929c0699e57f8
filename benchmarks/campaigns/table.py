"""Tables of the docs: campaigns and drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "campaigns.json"
SHOWN = ("5.0%", "1.0%", "0.5%", "0.1%", "1.0% in bursts")
ORDER = ("monitor", "plain martingale", "CUSUM on flags", "binomial window", "Kolmogorov-Smirnov")
ALARMS = ("false alarms per million", "of the worst calibration")
POOLS = {
    ("natural", 0.25): "a quarter under natural change", ("natural", 1.0): "all under natural change",
    ("darker", 1.0): "all darker by 15 %",
}  # fmt: skip


def gate() -> list[list[str]]:
    """What the streams are drawn from."""
    rows = [["scores of", "number", "flagged by the gate itself"]]
    names = {"clean": "clean images", "natural": "the same under natural change", "darker": "the same, darker by 15 %",
             "attacked": "successful attacks on 400 of them"}  # fmt: skip
    for kind in read(RESULT)["gate"]:
        rows.append([names[kind["scores of"]], f"{kind['number']:,}", f"{kind['flagged']:.1%}"])
    return rows


def campaigns() -> list[list[str]]:
    """False alarms per million clean inputs and inputs until an alarm, median and nine tenths."""
    found = read(RESULT)
    rows = [
        [
            "test",
            "false alarms per million: mean / worst",
            *(
                f"{share.removesuffix(' in bursts')} attacked{', in bursts' if 'bursts' in share else ''}"
                for share in SHOWN
            ),
        ]
    ]
    for row in sorted(found["rows"], key=lambda row: ORDER.index(row["test"].split(",")[0])):
        mean, worst = (max(design[of] for design in row["designs"]) for of in ALARMS)
        alarms = f"{mean:.1f} / {worst:.1f}"
        rows.append([row["test"], alarms, *(_delay(row["delays"][share], found["longest"]) for share in SHOWN)])
    return rows


def _delay(delay: dict[str, Any], longest: int) -> str:
    def inputs(count: int) -> str:
        return "none" if count >= longest else f"{count:,}"

    return f"{inputs(delay['median'])} / {inputs(delay['p90'])}"


def drift() -> list[list[str]]:
    """Benign drift, and what it is taken for."""
    rows = [["clean inputs", "drift is told", "median inputs until then", "an alarm for a campaign names drift"]]
    for row in read(RESULT)["drift"]:
        share = row["campaign alarm"]
        named = f"{1 - (1 - row['named drift']) / share:.0%} of {share:.0%}" if share else "no such alarm"
        until = f"{row['median until drift is told']:,}" if row["told"] >= 0.5 else "none"
        rows.append([POOLS[row["pool"], row["share"]], f"{row['told']:.0%}", until, named])
    return rows


TABLES = {"campaign-scores": gate, "campaigns": campaigns, "drift": drift}
