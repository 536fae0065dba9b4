"""Hooks of mkdocs: documents of the repository's root become pages of the site, and names of flags stay on one line."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_FLAG = re.compile(r"--[a-z]\w*")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages; links to other files of the repository become their names."""
    for name, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\[([^]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Marks the flags in code, which browsers would break after the hyphens."""
    code = re.compile(r"<pre.*?</pre>|<code>[^<]*</code>", re.DOTALL)
    return code.sub(lambda found: _FLAG.sub(r'<span class="flag">\g<0></span>', found[0]), html)
