# SPDX-License-Identifier: Apache-2.0
"""The reference of the C library, made of its headers: a comment is prose, what follows it is code."""

import re

COMMENT = re.compile(r"/\*(.*?)\*/\n?", re.S)
NAME = re.compile(r"\b(forebay_\w+)\s*\(|^#define (FOREBAY_\w+)|^} (forebay_\w+);|^typedef .*?\b(forebay_\w+);", re.M)
NOT_SHOWN = re.compile(r"^(?:#(?:ifndef|endif|include)\b.*|#define FOREBAY_\w+_H|FOREBAY_BEGIN|FOREBAY_END|/\* SPDX.*)$", re.M)
INTRODUCTION = """# The C library

What `#include <forebay/forebay.h>` declares, header by header. Functions return a [status](#statush) unless they say otherwise;
no call waits for another process unless it says so. `pkg-config --cflags --libs forebay` has what the compiler needs.

"""


def page(folder):
    """The Markdown of all headers in a folder that declare something."""
    headers = [path for path in sorted(folder.glob("*.h")) if path.name not in ("forebay.h", "export.h")]
    return INTRODUCTION + "\n".join(_header(path) for path in headers)


def _header(path):
    text = NOT_SHOWN.sub("", path.read_text())
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n(?=\S)", text) if block.strip()]
    return f"## {path.name}\n\n" + "\n".join(_block(block) for block in _joined(blocks))


def _joined(blocks):
    """Blocks that an empty line parts within a brace, a macro or a comment belong together."""
    joined = []
    for block in blocks:
        if joined and not _is_whole(joined[-1]):
            joined[-1] += f"\n\n{block}"
        else:
            joined.append(block)
    return joined


def _is_whole(block):
    return block.count("/*") == block.count("*/") and block.count("{") == block.count("}")


def _block(block):
    """A heading with the first name that is declared, the comment above it, and the declarations."""
    comment = COMMENT.match(block)
    code = (block[comment.end() :] if comment else block).replace("FOREBAY_API ", "").replace("FOREBAY_MUST_CHECK ", "")
    prose = _prose(comment[1]) if comment else ""
    found = NAME.search(code)
    heading = f"### {next(name for name in found.groups() if name)}\n\n" if found else ""
    return heading + (f"{prose}\n\n" if prose else "") + (f"```c\n{code.strip()}\n```\n" if code.strip() else "")


def _prose(comment):
    """The text of a comment, safe in Markdown: names are code."""
    text = re.sub(r"^ *\*? ?", "", comment, flags=re.M).strip()
    text = re.sub(r"(`[^`]*`)|([*_<\[\]])", lambda part: part[1] or f"\\{part[2]}", text)
    return re.sub(r"(?<![\w`\\])((?:forebay|FOREBAY)(?:\\_\w+)+(?:\(\))?)", lambda name: f"`{name[1]}`".replace("\\", ""), text)
