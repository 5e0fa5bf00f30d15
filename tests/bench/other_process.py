# SPDX-License-Identifier: Apache-2.0
"""`python other_process.py BENCH FOLDER COUNT BYTES KEY`: what each peer of another process gives for a key, as JSON: name -> is it there."""

import json
import sys
from pathlib import Path


def gives(peer, key):
    peer.ready()
    try:
        return peer.get(peer.key(key)) is not None
    except KeyError:  # of what lru_cache calls
        return False


if __name__ == "__main__":
    bench, folder, count, size, key = sys.argv[1:]
    sys.path.insert(0, bench)
    from peers import Place, all_peers

    place = Place(Path(folder), int(count), int(size))
    found = {}
    for name, kind in all_peers().items():
        peer = kind(place)
        found[name] = gives(peer, key)
        peer.close()
    print(json.dumps(found))
