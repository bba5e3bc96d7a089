"""Adds Markdown files that live outside docs/ to the site, and points relative links to where pages went.

A page's place in the repository and its place on the site differ only in this: `docs/` is left out, and the README
is the first page.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "grid/README.md", "cluster/README.md")
CARDS = "src/xlharm/assets/*/README.md"
HOME = {"README.md": "index.md"}
LINK = re.compile(r"(?:(?<=\]\()|(?<=\]: ))(?!https?:|#)([^)#\s]+)")
"""A relative link's target: of `[text](target)` and of `[name]: target`."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    cards = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(CARDS))]
    for name in (*OUTSIDE, *cards):
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, HOME.get(name, name), content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite relative links from the repository's layout to the site's."""
    here = _in_repository(page.file.src_uri)
    source = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[1]))
        on_site = HOME.get(target, target.removeprefix("docs/"))
        if not files.get_file_from_path(on_site):
            return match[1]
        return posixpath.relpath(on_site, posixpath.dirname(source) or ".")

    return LINK.sub(moved, markdown)


def _in_repository(uri: str) -> str:
    for name, on_site in HOME.items():
        if uri == on_site:
            return name
    return uri if (ROOT / uri).exists() else f"docs/{uri}"
