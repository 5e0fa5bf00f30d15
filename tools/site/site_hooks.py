# SPDX-License-Identifier: Apache-2.0
"""What mkdocs does for the site besides: pages that are made of other files, and links to files that are no pages."""

import os
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
import site_c_reference  # noqa: E402

FROM_THE_ROOT = {  # files of the root that are pages of the site
    "ARCHITECTURE.md": "internals/architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Add the pages that are made."""
    for source, page in FROM_THE_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    files.append(File.generated(config, "reference/c.md", content=site_c_reference.page(ROOT / "include" / "forebay")))
    return files


def on_page_markdown(markdown, page, **_):
    """Examples are shown as sessions; links lead to pages of the site, or are none."""
    place = page.file.src_uri
    origin = next((source for source, made in FROM_THE_ROOT.items() if made == place), f"docs/{place}")
    return LINK.sub(lambda link: _on_the_site(link, origin, place), markdown.replace("```python\n>>>", "```pycon\n>>>"))


def _on_the_site(link, origin, place):
    """A link in the file `origin` of the tree as one of the page `place`; of a file that is no page its text is left."""
    text, path, section = link.groups()
    target = os.path.normpath(os.path.join(os.path.dirname(origin), path))
    page = FROM_THE_ROOT.get(target, target.removeprefix("docs/"))
    if page == target and (ROOT / target).exists():
        return text
    return f"[{text}]({os.path.relpath(page, os.path.dirname(place))}{section or ''})"
