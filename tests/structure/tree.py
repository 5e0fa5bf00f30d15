# SPDX-License-Identifier: Apache-2.0
"""The tree as the structure tests see it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
RELEASE = BUILD / "release"
WHEELS = BUILD / "wheels" / "venv"
LAYERS = ["base", "arena", "limit", "tier", "codec", "value", "cache", "pool"]  # lowest first
NOT_OURS = {".git", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache"}


def files(*patterns, under="."):
    """Every file below a folder whose name fits a pattern, build products aside."""
    found = []
    for folder, folders, names in os.walk(ROOT / under):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        found += [Path(folder, name) for name in names if name not in NOT_OURS and any(Path(name).match(p) for p in patterns)]
    assert found, f"no {patterns} under {under}: the test looks in the wrong place"
    return sorted(found)


def name(path):
    return str(path.relative_to(ROOT))
