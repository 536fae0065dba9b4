"""Hook of mkdocs: shows documents of the repository's root as pages of the site."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages; links to other files of the repository become their names."""
    for name, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\[([^]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)
        files.append(File.generated(config, name, content=text))
    return files
