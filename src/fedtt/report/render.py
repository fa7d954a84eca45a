"""A page as one HTML file that needs nothing else."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from fedtt._version import __version__
from fedtt.report.blocks import Page
from fedtt.report.drawing_code import drawing_code

PARTS = "page_parts"
MARKER = "<!doctype html><!-- fedtt report -->"


def render(page: Page) -> str:
    """The file's text. All that a page holds is escaped; only our own script and style are not."""
    code, script = drawing_code(), _part("page.js")
    return _template("page.html").render(
        page=page,
        version=__version__,
        marker=Markup(MARKER),
        style=Markup(_part("page.css")),
        code=Markup(code),
        script=Markup(script),
        policy=_policy(code, script),
        specs=specs_of(page),
    )


def specs_of(page: Page) -> dict[str, dict[str, Any]]:
    """Chart -> its specification, as the page's script reads them."""
    return {chart.key: chart.spec for section in page.sections for chart in section.charts}


def _policy(*scripts: str) -> str:
    """Only these scripts run, nothing is fetched, nothing is sent."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({name: _part(name)}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "sort_keys": False}
    return environment.get_template(name)


@cache
def _part(name: str) -> str:
    return files("fedtt.report").joinpath(PARTS, name).read_text(encoding="utf-8")
