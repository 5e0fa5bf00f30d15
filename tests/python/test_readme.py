# SPDX-License-Identifier: Apache-2.0
"""What the README shows is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_of_the_readme_runs_and_prints_what_it_says(tmp_path):
    first, *others = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(first.splitlines()) <= 20
    code = "\n".join([first, *others])
    assert "memoize" in code
    assert '"/dev/shm/shop.forebay"' in code
    code = code.replace("/dev/shm/shop.forebay", str(tmp_path / "shop.forebay")).replace("256MiB", "8MiB")
    done = subprocess.run([sys.executable, "-I", "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    batch, count, *_ = done.stdout.splitlines()
    assert batch == "{7: {'name': 'Grace'}, 8: {'name': 'Edsger'}}"
    assert count == "1"
