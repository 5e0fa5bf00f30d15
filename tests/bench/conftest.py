# SPDX-License-Identifier: Apache-2.0
"""The modules of bench/ are imported as its programs import each other."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
