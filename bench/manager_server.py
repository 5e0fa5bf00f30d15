# SPDX-License-Identifier: Apache-2.0
"""The process behind the peer "multiprocessing.Manager dict": `python manager_server.py FOLDER` serves a dict until it is killed."""

from __future__ import annotations

import sys
from multiprocessing.managers import BaseManager, DictProxy
from pathlib import Path

KEY = b"bench"  # who may connect is a matter of the folder's rights
STORE: dict[str, bytes] = {}


class Manager(BaseManager):
    pass


Manager.register("shared", callable=lambda: STORE, proxytype=DictProxy)


def socket_path(folder: Path) -> Path:
    return folder / "manager.sock"


def connect(folder: Path) -> DictProxy[str, bytes]:
    """The dict of the server in that folder."""
    manager = Manager(address=str(socket_path(folder)), authkey=KEY)
    manager.connect()
    return manager.shared()  # type: ignore[attr-defined,no-any-return]


if __name__ == "__main__":
    Manager(address=str(socket_path(Path(sys.argv[1]))), authkey=KEY).get_server().serve_forever()
