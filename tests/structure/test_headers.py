# SPDX-License-Identifier: Apache-2.0
"""Each public header stands alone, in C11 and in C++17."""

import os
import subprocess

import pytest
from tree import ROOT, files

HEADERS = [path.relative_to(ROOT / "include") for path in files("*.h", under="include")]
LANGUAGES = {
    "C11": [os.environ.get("CC", "cc"), "-x", "c", "-std=c11"],
    "C++17": [os.environ.get("CXX", "c++"), "-x", "c++", "-std=c++17"],
}


def compile_text(text, language):
    options = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I", ROOT / "include", "-"]
    return subprocess.run(
        [*LANGUAGES[language], *options], input=text, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_header_compiles_alone(header, language):
    done = compile_text(f"#include <{header}>\n#include <{header}>\nint one;\n", language)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_line_would_be_caught(language):
    assert compile_text("#include <forebay/forebay.h>\nforebay_no_such_type x;\n", language).returncode != 0
