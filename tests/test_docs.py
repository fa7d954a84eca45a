"""The documentation points at what is there."""

import re
from pathlib import Path

import pytest

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
