# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: any `values` and `keys` that Forebay stores."""

import struct
import zoneinfo
from datetime import timedelta, timezone
from decimal import Decimal

from hypothesis import strategies as st

any_text = st.text(st.characters(exclude_categories=()))
nan_bits = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
zones = st.one_of(
    st.just(timezone.utc),
    st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), any_text),
    st.sampled_from(["Europe/Vienna", "America/New_York", "UTC", "Asia/Kolkata"]).map(zoneinfo.ZoneInfo),
)
folds = st.integers(0, 1)
datetimes = st.builds(
    lambda moment, fold, zone: moment.replace(fold=fold, tzinfo=zone),
    st.datetimes(),
    folds,
    st.none() | zones,
)
times = st.builds(
    lambda moment, fold, zone: moment.replace(fold=fold, tzinfo=zone), st.times(), folds, st.none() | zones
)
decimals = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
        folds,
        st.lists(st.integers(0, 9), max_size=40).map(tuple),
        st.one_of(st.integers(-(10**15), 10**15), st.sampled_from(["F", "n", "N"])),
    ),
)
hashable_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    any_text,
    st.binary(),
    datetimes,
    times,
    st.dates(),
    st.timedeltas(),
    decimals.filter(lambda number: not number.is_snan()),
    st.uuids(),
)
scalars = st.one_of(hashable_scalars, decimals, nan_bits)
hashables = st.recursive(hashable_scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(hashables, inner, max_size=20),
    ),
    max_leaves=30,
)
keys = st.recursive(
    st.one_of(
        any_text,
        st.binary(),
        st.integers(),
        st.integers(-(2**300), 2**300),
        st.booleans(),
        st.uuids(),
        st.dates(),
    ),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=10,
)
