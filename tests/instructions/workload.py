# SPDX-License-Identifier: Apache-2.0
"""workload.py OPERATION: calls it COUNT times on an arena of its own; run under callgrind by count.py.

The garbage collector and the interpreter are not measured, so that any of them will do.
"""

import random
import sys
import time

import forebay

COUNT = 4000
BATCH = 100
RECORD = {"id": 3117735, "name": "Zürich", "population": 341730, "at": [47.36667, 8.55], "zone": "Europe/Zurich", "x": None}
PACKED = ("get_packed", "set_packed")
PARTS = ("Zürich", "berg", "Basel", "dorf", "Winter", "thur", "Ober", "Unter", "wil", "Langen", "ried", "Au")
RECORDS = ("get_record", "lazy_remembered", "lazy_raw", "record_field", *PACKED)


def record_of(number: int) -> dict[str, object]:
    """Records of one kind that are not the same: a dictionary is for such."""
    numbers = random.Random(number)
    return RECORD | {"id": numbers.randrange(4_000_000), "name": f"{numbers.choice(PARTS)}{numbers.choice(PARTS)}",
                     "population": numbers.randrange(1_000_000), "zone": f"Europe/{numbers.choice(PARTS)}"}  # fmt: skip


def follow(arena: forebay.Arena, cache: forebay.Cache[str, object]) -> None:
    """Let the cache follow a channel on which all was heard just now."""
    channel = arena._channel("instructions")
    cache._follow(channel, 3_600_000)
    listener = channel.claim(1000)
    assert listener is not None
    channel.begin(listener)
    channel.beat(listener, channel.now())


def main(operation: str) -> None:
    evicting = operation == "set_evicting"
    value = bytes(400)
    numbers = random.Random(1)
    with forebay.open(None, "2MiB" if evicting else "16MiB") as arena:
        cache = arena.cache("instructions", codec="zstd" if operation in PACKED else None)
        keys = [f"city:{number}" for number in range(10 * COUNT if evicting else COUNT)]
        numbers.shuffle(keys)
        if operation == "get_shared":
            follow(arena, cache)
        for key in keys:  # all that is warmed up here does not count: it is set by set_many
            cache.set_many({key: RECORD if operation in RECORDS else value}, ttl=3600 if operation == "get_shared" else None)
        if operation in PACKED:
            records = {key: record_of(number) for number, key in enumerate(keys)}
            cache.set_many(records)
            while cache.stats()["dictionary"] is None:
                if not cache.train():  # it is being trained in the background
                    time.sleep(0.01)
            cache.set_many(records)  # packed with that
        if operation in ("get", "get_shared", "get_record", "get_packed"):
            for key in keys:
                cache.get(key)
        elif operation == "fetch":
            loading = arena.cache("instructions", load=lambda key: None)
            for key in keys:
                loading.fetch(key)
        elif operation == "lazy_remembered":
            lazy = arena.cache("instructions", lazy=True, memo="16MiB")
            for key in keys:
                lazy.get(key), lazy.get(key)  # does not count; the second time it is remembered
            for key in keys:
                lazy.lazy(key)
        elif operation == "lazy_raw":
            lazy = arena.cache("instructions", memo=None)
            for key in keys:
                lazy.lazy(key)
        elif operation == "record_field":
            for record in arena.cache("instructions", lazy=True).get_many(keys).values():
                record["population"]
        elif operation == "get_int":
            cache.set_many({number: value for number in range(COUNT)})
            for number in range(COUNT):
                cache.get(number)
        elif operation == "get_many":
            for start in range(0, COUNT, BATCH):
                cache.get_many(keys[start : start + BATCH])
        elif operation in ("set", "set_evicting"):
            for number in range(COUNT):
                cache.set(keys[number], value)
        elif operation == "set_packed":
            for key, record in records.items():
                cache.set(key, record)
        elif operation == "set_record":
            for key in keys:
                cache.set(key, RECORD)
        else:
            sys.exit(f"no operation {operation}")


if __name__ == "__main__":
    main(sys.argv[1])
