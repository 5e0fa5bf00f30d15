# SPDX-License-Identifier: Apache-2.0
"""Count the instructions of operations, per call, with valgrind's callgrind.

usage: count.py [--record]

Only those of the extension, with the library inside: neither the interpreter's
nor the C library's, which differ between machines.  --record writes recorded.json.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forebay._core
import workload

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
# operation: the extension's function in which instructions count
OPERATIONS = {
    "get": "cache_get",
    "get_shared": "cache_get",
    "fetch": "cache_fetch",
    "get_int": "cache_get",
    "get_record": "cache_get",
    "get_packed": "cache_get",
    "get_many": "cache_get_many",
    "lazy_remembered": "cache_lazy",
    "lazy_raw": "cache_lazy",
    "record_field": "map_subscript",
    "set": "cache_set",
    "set_record": "cache_set",
    "set_packed": "cache_set",
    "set_evicting": "cache_set",
}


def own_cost(profile: str, name: str) -> int:
    """The self cost of all functions of the object `name` in a callgrind file."""
    total, mine, of_call = 0, False, False
    for line in profile.splitlines():
        if line.startswith("ob="):
            mine = line.endswith(name)
        elif line.startswith("calls="):
            of_call = True  # the next line is the callee's cost
        elif re.match(r"[0-9+*-]", line):
            if mine and not of_call:
                total += int(line.split()[1])
            of_call = False
    return total


def count(operation: str) -> float:
    """Instructions of one call (of get_many: of one key)."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        # link-time optimization may give the function's name a suffix
        name = OPERATIONS[operation]
        command = ["valgrind", "--tool=callgrind", f"--toggle-collect={name}", f"--toggle-collect={name}.lto_priv*"]
        command += ["--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={profile}"]
        command += [sys.executable, str(HERE / "workload.py"), operation]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return round(own_cost(profile.read_text(), forebay._core.__file__) / workload.COUNT, 1)


def count_all() -> dict[str, float]:
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(OPERATIONS, pool.map(count, OPERATIONS)))


if __name__ == "__main__":
    counts = count_all()
    print(json.dumps(counts, indent=2))
    if sys.argv[1:] == ["--record"]:
        RECORDED.write_text(json.dumps(counts, indent=2) + "\n")
