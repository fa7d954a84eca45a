"""The documentation points at what is there."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedtt.config import parse_config

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
# [text](target), ![alt](target) and [name]: target; a target may have a title after it.
LINKS = re.compile(r"\]\(<?([^)\s>]+)|^\[[^\]]+\]:\s+<?([^\s>]+)", re.MULTILINE)


def links_of(text: str) -> list[str]:
    """Targets of all links outside code blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [inline or reference for inline, reference in LINKS.findall(prose)]


def anchors_of(text: str) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in links_of(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue  # another site, or mail
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors_of(path.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_links_are_found_and_followed(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A title, or two\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) ![b](gone.png) [c](there.md#a-title-or-two) [d](there.md#gone)\n"
        "[e](https://example.org/gone) [f](#gone)\n```\n[g](code.md)\n```\n[h]: gone.md\n"
    )
    assert broken_links(page) == ["gone.png", "there.md#gone", "#gone", "gone.md"]


def site_pages(nav: object) -> Iterator[str]:
    """Every file that a navigation of mkdocs names."""
    if isinstance(nav, str):
        yield nav
    for below in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from site_pages(below)


def test_every_page_is_on_the_site() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert pages - set(site_pages(nav)) == set(), "give it a line in mkdocs.yml, under nav"


TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [(page, text) for page in PAGES for text in TOML.findall(page.read_text(encoding="utf-8"))]
OTHER = ("project", "compare")  # of a package, of a comparison
BASE: dict[str, Any] = {
    "rounds": 1,
    "model": {"name": "minilm"},
    "data": {"path": "tickets.csv"},
    "method": {"name": "fedtt"},
}


def test_there_are_configurations_on_the_pages() -> None:
    assert len(BLOCKS) > 10


@pytest.mark.parametrize(("page", "text"), BLOCKS, ids=[page.name for page, _ in BLOCKS])
def test_every_configuration_on_a_page_is_valid(page: Path, text: str) -> None:
    """As it stands where it is complete; on top of a plain run where it is a part of one."""
    table = tomllib.loads(text)
    if any(key in table for key in OTHER):
        return
    model = {**BASE["model"], **table.get("model", {})}
    parse_config({**BASE, **table, "model": model}, where=page.name)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_nothing_of_the_network(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    html = [page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")]
    assert len(html) > 25
    for text in html:
        assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']https?:[^>]*""", text)
