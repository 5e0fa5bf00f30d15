# SPDX-License-Identifier: Apache-2.0
"""The site that `tools/test docs` has built: complete, and all of it here."""

import re
from pathlib import Path

import pytest

import forebay

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
PAGES = {str(path.relative_to(SITE)): path.read_text() for path in sorted(SITE.rglob("*.html"))}
LOADED = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(https?:)?//|<link\b[^>]*\brel=\"?stylesheet[^>]*\bhref=\"?(https?:)?//|@import|url\((https?:)?//")


def test_pages_load_nothing_from_elsewhere():
    styles = {str(path): path.read_text() for path in SITE.rglob("*.css")}
    assert len(PAGES) > 20 and styles
    assert not [page for page, text in (PAGES | styles).items() if LOADED.search(text)]


def anchors(page):
    return set(re.findall(r'\bid="([^"]+)"', PAGES[page]))


def test_all_that_is_public_in_python_is_in_the_reference():
    described = set().union(*(anchors(page) for page in PAGES if page.startswith("reference/")))
    assert not {name for name in forebay.__all__ if f"forebay.{name}" not in described} - {"__version__"}


@pytest.mark.parametrize("name", ["Arena.cache", "Cache.get", "Cache.fetch", "Arena.memoize", "ObjectPool.borrow"])
def test_methods_of_the_extension_have_their_docstrings(name):
    page = next(text for page, text in PAGES.items() if page.startswith("reference/") and f'id="forebay.{name}"' in text)
    kind, method = name.split(".")
    first = getattr(getattr(forebay, kind), method).__doc__[:20]
    described = page.split(f'id="forebay.{name}"')[1].split("<h3")[0]
    assert first in re.sub("<[^>]+>", "", described)


def test_all_that_the_headers_declare_is_in_the_reference():
    text = re.sub("<[^>]+>", "", PAGES["reference/c.html"])
    for header in (ROOT / "include" / "forebay").glob("*.h"):
        if header.name != "export.h":
            for function in re.findall(r"\b(forebay_\w+)\(", re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)):
                assert f"{function}(" in text, function


def test_every_page_is_found_from_the_first():
    for page in PAGES:
        if page not in ("404.html", "index.html"):
            assert f'href="{page}"' in PAGES["index.html"], page
