"""For mkdocs: what links say in the repository holds on the site, too.

Pages of the root become pages of the site; other files outside docs/ that a page links to
go along as they are; headings get the anchors that GitHub gives them.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")
INTO_DOCS = re.compile(r"\]\(docs/")
UP_FROM = "outside"  # where files of the repository lie on the site


def github_anchor(heading, separator):
    """As tests/test_docs.py has it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


def on_config(config):
    """Anchors are those of GitHub."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = github_anchor
    return config


def on_files(files, config):
    """What lies outside docs/ and belongs to the site."""
    for name in ROOT_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    pages = [ROOT / "docs" / file.src_uri for file in files.documentation_pages()]
    texts = [page.read_text(encoding="utf-8") for page in pages if page.exists()]
    linked = {target for text in texts for target in OUTSIDE.findall(text)}
    for target in sorted(linked - set(ROOT_PAGES)):
        place = ROOT / target
        if place.is_file():  # the link of what is not there stays broken, and is reported
            uri = f"{UP_FROM}/{target}"
            files.append(File.generated(config, uri, abs_src_path=str(place)))
    return files


def on_page_markdown(markdown, page, config, files):  # noqa: ARG001
    """Links out of docs/, and from the root into it, as the site has them."""
    if page.file.src_uri in ROOT_PAGES:
        return INTO_DOCS.sub("](", markdown)
    if "/" in page.file.src_uri:
        return markdown  # ../ of a page below leads to docs/ itself

    def on_the_site(link):
        target = link[1]
        return f"]({target}" if target in ROOT_PAGES else f"]({UP_FROM}/{target}"

    return OUTSIDE.sub(on_the_site, markdown)
