"""Lets search work when the site is opened from the disk, without a script from another host."""

import re
from posixpath import relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

SHIM = re.compile(r'src="https://[^"]*/iframe-worker/shim"')
"""Where the theme loads a stand-in for web workers from, which browsers refuse for file:// addresses."""


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Point the page to our stand-in."""
    return _local(output, folder=page.file.dest_uri.rpartition("/")[0])


def on_post_template(output: str, *, template_name: str, config: MkDocsConfig) -> str:
    """Do the same for pages without Markdown, such as the one for missing pages."""
    return _local(output, folder="")


def _local(output: str, *, folder: str) -> str:
    return SHIM.sub(f'src="{relpath("_site/worker.js", folder or ".")}"', output)
