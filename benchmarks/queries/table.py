"""Tables of the docs: query attacks, and who else is taken for one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.program import read

CAMPAIGNS = Path(__file__).parents[1] / "campaigns" / "results" / "campaigns.json"
RESULT = Path(__file__).parent / "results" / "queries.json"
MODES = ("near-copies", "near-copies and habits", "video")
NAMES = {
    "square": "Square", "hopskipjump": "HopSkipJump", "boundary": "Boundary", "simba": "SimBA", "NES": "NES",
    "OARS": "NES as OARS, rehearsed",
}  # fmt: skip


def attacks() -> list[list[str]]:
    """Share found within a hundred queries, of all and of those that last so long, and the median of queries."""
    found = read(RESULT)
    rows = [["attack", "attacks", *(f"{mode}: all / the longer ones / median" for mode in MODES)]]
    both = [row for name, rows in found.items() if name == "adaptive" or name.startswith("attack ") for row in rows]
    for name, title in NAMES.items():
        of_one = {row["mode"]: row for row in both if row["attack"] == name}
        if of_one:
            cells = [
                f"{of_one[mode]['found']:.0%} / {of_one[mode]['found of the longer ones']:.0%} / "
                f"{'-' if of_one[mode]['median queries'] is None else format(of_one[mode]['median queries'], 'g')}"
                for mode in MODES
            ]
            rows.append([title, str(of_one[MODES[0]]["attacks"]), *cells])
    return rows


def others() -> list[list[str]]:
    """How many of the clients that are no attackers raise an alarm."""
    found = read(RESULT)
    rows = [["clients", *MODES]]
    for part, key, title in (("people", "images", "200 images of {}"), ("cameras", "camera", "{}, 300 frames")):
        for name in dict.fromkeys(row[key] for row in found[part]):
            of_one = {row["mode"]: row for row in found[part] if row[key] == name}
            counts = [f"{of_one[mode]['with an alarm']} of {of_one[mode]['clients']:,}" for mode in MODES]
            rows.append([title.format(name), *counts])
    return rows


def cost() -> list[list[str]]:
    """Processor time of one input, in microseconds."""
    campaigns = {row["test"]: row for row in read(CAMPAIGNS)["rows"]}
    rows = [["what is watched", "microseconds per input"]]
    rows.append(["campaigns, one stream", f"{campaigns['monitor']['designs'][0]['microseconds per input']:.1f}"])
    for name, time in read(RESULT)["microseconds"].items():
        rows.append([f"queries: {name}, 224x224 pixels", f"{time:.0f}"])
    return rows


TABLES = {"query-attacks": attacks, "query-others": others, "monitor-cost": cost}
