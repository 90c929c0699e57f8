"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _config
from ce_detect.cli._files import check_writable
from ce_detect.core.resizing import INTERPOLATIONS

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
COUNT = click.IntRange(min=1)

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A time such as ``90``, ``90s``, ``5m`` or ``1h``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smh]?)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a time such as 90, 90s, 5m or 1h", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class Moment(click.ParamType[float]):
    """A time such as ``2026-11-30T08:00``, UTC where it names no zone, in seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-30T08:00", param, ctx)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _stacked(*decorators: Decorator) -> Decorator:
    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def every_command(*, seed: int) -> Decorator:
    """``--seed``, ``--json`` (as ``as_json``) and ``--config``.

    Args:
        seed: default of ``--seed``.
    """
    return _stacked(
        click.option(
            "--seed", type=click.IntRange(min=0), default=seed, show_default=True, help="Seed of all that is random."
        ),
        click.option("--json", "as_json", is_flag=True, help="JSON on stdout, everything else on stderr."),
        click.option(
            "--config",
            type=FILE,
            is_eager=True,
            expose_value=False,
            callback=_config.read,
            help="TOML file with the flags as keys; flags on the command line win.",
        ),
    )


def model_options() -> Decorator:
    """``--model`` and ``--weights``."""
    return _stacked(
        click.option(
            "--model",
            required=True,
            metavar="SPEC",
            help="'demo', 'package.module:factory', 'path/to/file.py:factory' or an .onnx file.",
        ),
        click.option("--weights", type=FILE, help="State dict of the model: .safetensors, .pt or .pth."),
    )


def trust_options() -> Decorator:
    """``--sha256`` and ``--trusted-key``, see `ce_detect.artifacts.trust.Trust`."""
    return _stacked(
        click.option("--sha256", metavar="DIGITS", help="Take the file with this SHA-256 alone, see sha256sum."),
        click.option("--trusted-key", type=FILE, metavar="PEM", help="Take a file that this public key signed alone."),
    )


def decision_options() -> Decorator:
    """``--multi-label`` and ``--label``."""
    return _stacked(
        click.option("--multi-label", is_flag=True, help="Several labels may hold at once; the top label decides."),
        click.option(
            "--label",
            type=click.IntRange(min=0),
            help="Watch this label of a multi-label model alone: 1 where its logit is above 0, else 0.",
        ),
    )


class _Pixels(click.ParamType[Any]):
    """Pixels such as ``256``, or height and width such as ``224x320``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        """Return one number or two."""
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size such as 256 or 224x320", param, ctx)
        return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def resizing_options() -> Decorator:
    """``--resize``, ``--crop`` and ``--interpolation``."""
    return _stacked(
        click.option(
            "--resize",
            type=_Pixels(),
            metavar="SIZE",
            help="Resize image files: 256 brings the shorter side to it, 224x320 both (height and width).",
        ),
        click.option(
            "--crop", type=_Pixels(), metavar="SIZE", help="Then cut this out of the middle: 224, or 224x320."
        ),
        click.option(
            "--interpolation",
            type=click.Choice(INTERPOLATIONS),
            help="Filter of --resize, bilinear by default; take what the model was trained with.",
        ),
    )


def data_options(*, required: bool = True) -> Decorator:
    """``--data``, ``--split`` and ``--limit``."""
    return _stacked(
        click.option(
            "--data",
            required=required,
            metavar="SPEC",
            help="Folder of images or of class folders, .npz, .npy, .parquet, 'package.module:factory', "
            "'path/to/file.py:factory' or 'demo'.",
        ),
        click.option("--split", help="Which split of an .npz file or of parquet files to take, such as 'train'."),
        click.option("--limit", type=COUNT, help="Take only the first so many images."),
    )


def attack_options() -> Decorator:
    """``--attack-time``, ``--cache`` and ``--jobs``."""
    return _stacked(
        click.option("--attack-time", type=Duration(), help="Start no new attack after this time: 90, 90s, 5m, 1h."),
        click.option("--cache", type=FOLDER, help="Where attacked images and costs are kept."),
        click.option("--jobs", type=COUNT, help="Processes that attack; by default as many as pay."),
    )


def out_option() -> Decorator:
    """``--out``, checked before the long work."""
    return click.option(
        "--out",
        "--output",
        "--html",
        type=FILE,
        multiple=True,
        callback=_checked,
        metavar="FILE",
        help="Write what was found: .html for a page, .json for data, .md for a model card; as often as you like.",
    )


def _checked(context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    if paths:
        from ce_detect.reporting.document import check

        for path in paths:
            check(path)
            check_writable(path)
    return paths
