"""A page as one HTML file that needs nothing else."""

import base64
import hashlib
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Live:
    """What a page says of the run it follows, in ``words``; ``version`` counts its contents."""

    state: str
    words: str
    version: int


def render(page: Page, live: Live | None = None) -> str:
    """The file's text. All that a page holds is escaped; only our own script and style are not.

    ``live``: of a page that is served and follows its run.
    """
    scripts = {"code": drawing_code(), "script": _part("page.js")}
    if live is not None:
        scripts["live_script"] = _part("live.js")
    return _template("page.html").render(
        version=__version__,
        marker=Markup(MARKER),
        style=Markup(_part("page.css")),
        policy=_policy(*scripts.values(), fetches=live is not None),
        live=live,
        **_content(page, 0 if live is None else live.version),
        **{name: Markup(script) for name, script in scripts.items()},
    )


def render_content(page: Page, *, version: int) -> str:
    """What changes of a page that follows a run; its scripts and style are left out."""
    return _template("content.html").render(**_content(page, version))


def _content(page: Page, version: int) -> dict[str, Any]:
    return {"page": page, "specs": specs_of(page), "content_version": version}


def specs_of(page: Page) -> dict[str, dict[str, Any]]:
    """Chart -> its specification, as the page's script reads them."""
    return {chart.key: chart.spec for section in page.sections for chart in section.charts}


def _policy(*scripts: str, fetches: bool) -> str:
    """Only these scripts run, nothing is fetched, or what whoever serves the page has, and nothing
    is sent.
    """
    fetched = "connect-src 'self'; " if fetches else ""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        f"{fetched}base-uri 'none'; form-action 'none'"
    )


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
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
