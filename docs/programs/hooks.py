"""Hooks of the site: pictures of the benchmarks, and tables that are made from the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from ce_detect.serve.metrics import Metrics
from ce_detect.serve.watch import Watch

ROOT = Path(__file__).parents[2]
SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme fetches to search pages that are opened from a folder; a copy of it is in ``docs/assets/``."""

LINK = re.compile(r"\((?:\.\./)+benchmarks/([\w/]+)/results/([\w-]+\.png)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the pictures of the results into the site."""
    for path in sorted(ROOT.glob("benchmarks/*/results/*.png")):
        name = f"pictures/{path.parents[1].name}-{path.name}"
        files.append(File.generated(config, name, content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at them, and fill the tables of metrics and of HTTP paths."""
    up = "../" * page.file.src_uri.count("/")
    markdown = LINK.sub(lambda found: f"({up}pictures/{found[1]}-{found[2]})", markdown)
    return markdown.replace("<!-- metrics -->", metrics()).replace("<!-- paths -->", paths())


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take the script from the site itself."""
    return output.replace(SHIM, "../" * page.file.src_uri.count("/") + "assets/iframe-worker.js")


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page of an address that there is not."""
    return output_content.replace(SHIM, "assets/iframe-worker.js")


def metrics() -> str:
    """Every metric of the server, with its kind and meaning."""
    empty = Metrics(waiting=lambda: 0.0, artifact=dict, threshold=lambda: 0.0)
    empty.watch(cast(Watch, SimpleNamespace(status=dict, lost=0)))  # what is there with --monitor alone
    described = empty.text().decode()
    helped = dict(re.findall(r"^# HELP (\S+) (.+)$", described, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\S+) (.+)$", described, re.MULTILINE))
    rows = [f"| `{name}` | {kinds[name]} | {text} |" for name, text in helped.items() if not name.endswith("_created")]
    return "\n".join(["| metric | kind | meaning |", "|---|---|---|", *rows])


def paths() -> str:
    """Every path of the server, from its OpenAPI document."""
    document = json.loads((ROOT / "ce_detect" / "serve" / "openapi.json").read_text())
    rows = [
        f"| `{method.upper()} {path}` | {asked['summary']} |"
        for path, methods in document["paths"].items()
        for method, asked in methods.items()
        if method != "parameters"
    ]
    return "\n".join(["| request | answer |", "|---|---|", *rows])
