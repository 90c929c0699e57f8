"""``ce-detect redteam``: attack classifier and detector together, and write a report card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._files import write
from ce_detect.cli._output import print_json, print_pairs, print_table
from ce_detect.reporting.words import percent, under_attack_rows


@click.command("redteam")
@click.argument("guard", type=options.FILE)
@options.model_options()
@options.trust_options()
@options.data_options()
@click.option("--images", type=options.COUNT, default=100, show_default=True, help="Attack the first so many images.")
@click.option(
    "--eps",
    nargs=2,
    default=("1/65280", "16/255"),
    show_default=True,
    metavar="LEAST MOST",
    help="Smallest and largest perturbation, in parts of the pixel range.",
)
@click.option(
    "--steps", type=options.COUNT, default=100, show_default=True, help="Gradient steps of each attack at each bound."
)
@click.option(
    "--restarts", type=click.IntRange(min=0), default=0, show_default=True, help="Tries more, from random starts."
)
@click.option("--queries", type=options.COUNT, default=500, show_default=True, help="Queries of Square, an image.")
@click.option(
    "--decisions",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Images that HopSkipJump tries, at about 2,000 queries each.",
)
@click.option(
    "--within",
    multiple=True,
    default=("2/255", "4/255", "8/255"),
    show_default=True,
    metavar="EPS",
    help="Within this perturbation make scores as low as can be; may be given several times.",
)
@click.option(
    "--then",
    multiple=True,
    metavar="KIND",
    help="The attacker knows that images are saved or scaled before they are judged: 'jpeg 2', 'shrink 1' and the like;"
    " may be given several times.",
)
@click.option("--secret-seeds", is_flag=True, help="The attacker does not know the seeds of random interventions.")
@click.option(
    "--gallery",
    type=click.IntRange(min=0),
    default=6,
    show_default=True,
    help="Inputs that got through that a page shows; 0 for none.",
)
@click.option("--bar", type=click.FloatRange(min=0), help="Check: smallest radius ratio that passes.")
@options.out_option()
@options.every_command(seed=1)
@click.pass_context
def command(
    context: click.Context,
    /,
    guard: Path,
    model: str,
    weights: Path | None,
    sha256: str | None,
    trusted_key: Path | None,
    data: str,
    split: str | None,
    limit: int | None,
    images: int,
    eps: tuple[str, str],
    within: tuple[str, ...],
    then: tuple[str, ...],
    secret_seeds: bool,
    gallery: int,
    bar: float | None,
    out: tuple[Path, ...],
    as_json: bool,
    **budget: Any,
) -> None:
    """Attack a detector and its classifier together, and write a report card.

    The attacker knows everything. The figure to look at is the radius ratio: how much larger a perturbation must be
    that fools classifier and detector, than one that fools the classifier alone. 1 means that the detector costs an
    attacker nothing. Exits with 1 where the ratio is below --bar, or where a check says that the attack is broken.
    """
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.redteam.settings import Plan, fraction
    from ce_detect.reporting import red_team_card

    plan = Plan(fraction(eps[0]), fraction(eps[1]), within=tuple(map(fraction, within)), then=then, **budget)
    loaded = DetectedModel.load(guard, load_model(model, weights), sha256=sha256, trusted_key=trusted_key)
    some = load_data(
        data, split=split, limit=images if limit is None else min(limit, images), resizing=loaded.wrapped.resizing
    )
    report = loaded.redteam(some, plan=plan, secret_seeds=secret_seeds, examples=gallery)
    card = red_team_card.document(
        report, loaded.calibrated.manifest, artifact=str(guard), bar=bar, secret_seeds=secret_seeds
    )
    write(card, out)
    if as_json:
        print_json(card.data)
    else:
        _print(card.data)
    context.exit(0 if card.data["passed"] else 1)


def _print(card: dict[str, Any]) -> None:
    report = card["report"]
    low, high = card["model"]["bounds"]
    radii = {name: report[f"radius_{name}"] for name in ("alone", "joint")}
    shown = {name: f"{_in255(radius)}, or {(high - low) * radius['value']:.3g}" for name, radius in radii.items()}
    at_least = "at least " if report["ratio_is_bound"] else ""
    pairs = {
        "fools the classifier alone": f"{shown['alone']} in pixels from {low:g} to {high:g}, median (95 %)",
        "fools classifier and gate": shown["joint"],
        "radius ratio": f"{at_least}{report['ratio']['value']:.2f} "
        f"({report['ratio']['low']:.2f} to {report['ratio']['high']:.2f})",
    }
    if report["censored"]:
        pairs["radius ratio"] += (
            f", censored: {percent(report['censored'])} of the images fool the classifier at the smallest bound, "
            f"{255 * report['plan']['least']:.3g}/255, and less might do; name a smaller one by --eps"
        )
    if report["clean_only"] is not None:
        pairs["clean-only, not attacked"] = f"would flag {percent(report['clean_only'])} of what got through"
    print_pairs(f"Red team: {card['artifact']}, {report['images']} images", pairs)
    rows = [(name, percent(share)) for name, share in report["by_attack"].items()]
    print_table("Each attack on its own, within the median joint perturbation", ("attack", "gets through"), rows)
    columns = ("within", "AUROC (95 %)", "fools the classifier", "flagged of those", "implied at half of it")
    print_table("Scores made as low as can be", columns, under_attack_rows(report))
    for check in report["checks"]:
        measured = ", ".join(f"{name} {value:.3g}" for name, value in check["measured"].items())
        click.echo(f"check {check['name']}: {'passed' if check['passed'] else 'FAILED'} ({measured})")
    if card["bar"] is not None:
        reached = report["ratio"]["value"] >= card["bar"]
        click.echo(f"check radius ratio of {card['bar']:g} or more: {'passed' if reached else 'FAILED'}")


def _in255(interval: dict[str, float]) -> str:
    value, low, high = (255 * interval[name] for name in ("value", "low", "high"))
    return f"{value:.3g}/255 ({low:.3g} to {high:.3g})"
