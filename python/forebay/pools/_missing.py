# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations


def missing(module: str, package: str) -> ImportError:
    """What is raised where the driver's `package` is not installed; `module`: of forebay.pools, and the extra's name."""
    return ImportError(f"forebay.pools.{module} needs {package}, which is not installed: pip install 'forebay[{module}]'", name=package)
