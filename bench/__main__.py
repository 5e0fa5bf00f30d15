# SPDX-License-Identifier: Apache-2.0
"""`python bench [speed|peers|traces|memoize|records|codecs|compression|loading|pools|buffers|batches|tiers|report|results|plot] [options]`: one part, or all of them in turn.

Without a part the options are those of speed; traces are left out where the
environment's TRACES names no folder.
"""

from __future__ import annotations

import os
import sys

import batches
import buffers
import codecs_run
import compression
import loading
import memoized
import plot
import pools
import records
import report
import results
import run
import tiers
import traces

PARTS = {
    "speed": run.main,
    "peers": run.list_peers,
    "traces": traces.main,
    "memoize": memoized.main,
    "records": records.main,
    "codecs": codecs_run.main,
    "compression": compression.main,
    "loading": loading.main,
    "buffers": buffers.main,
    "pools": pools.main,
    "batches": batches.main,
    "tiers": tiers.main,
    "report": report.main,
    "results": results.main,
    "plot": plot.main,
}


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        part = PARTS[sys.argv.pop(1)]
        part()
        return
    run.main()
    del sys.argv[1:]
    if os.environ.get("TRACES"):
        traces.main()
    else:
        print("miss ratios: not measured, TRACES is not set", file=sys.stderr)
    report.main()


if __name__ == "__main__":
    main()
