"""Brings the README, the suites' pages and the changelog into the site, links among them kept.

Pages are written to be read in the repository, where they link to each other by their paths there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def _pages() -> dict[str, str]:
    """Returns where each file of the repository stands in the site."""
    pages = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
    for path in sorted(ROOT.glob("suites/crucibench_suites/*/README.md")):
        pages[path.relative_to(ROOT).as_posix()] = f"suites/{path.parent.name}.md"
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.is_file() and "_site" not in path.parts:
            pages[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs").as_posix()
    return pages


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds what stands outside the folder of the documentation."""
    for source, place in _pages().items():
        if not source.startswith("docs/"):
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between pages of the site."""
    pages = _pages()
    here = next(source for source, place in pages.items() if place == page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path:
            return link[0]
        source = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        if source in pages:
            place = posixpath.relpath(pages[source], posixpath.dirname(page.file.src_uri) or ".")
            return f"{mark}[{text}]({place}{hash_}{anchor})"
        if (ROOT / source).exists():
            return text  # a file of the repository that is no page
        return link[0]  # broken: the build says so

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)
