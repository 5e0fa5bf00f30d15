# SPDX-License-Identifier: Apache-2.0
"""The argument serializer= of Arena.cache(), where it is not the usual "msgpack"."""

import warnings
from collections.abc import Callable
from typing import Any

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]


class PickleWarning(RuntimeWarning):
    """A cache was opened with serializer="pickle": loading a value runs code that is in it."""


def _dump_bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f'a cache with serializer="bytes" takes bytes-like values only, not {type(value).__name__}'
        ) from None
    return view.tobytes()


def _bytes() -> tuple[Dumps, Loads | None]:
    return _dump_bytes, None


def _json() -> tuple[Dumps, Loads | None]:
    import json

    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return lambda value: encode(value).encode("utf-8", "surrogatepass"), json.loads


def _pickle() -> tuple[Dumps, Loads | None]:
    import pickle

    _warn_of_pickle()
    return lambda value: pickle.dumps(value, 5), pickle.loads  # 5: every Python that Forebay supports loads it


_NAMED = {"bytes": _bytes, "json": _json, "pickle": _pickle}
_warned = False


def _warn_of_pickle() -> None:
    """Once per process."""
    global _warned
    if _warned:
        return
    _warned = True
    warnings.warn(
        'values of serializer="pickle" run code when they are loaded: whoever may write the arena\'s file may run '
        "anything here",
        PickleWarning,
        stacklevel=4,
    )


def resolve(serializer: Any) -> tuple[Dumps, Loads | None]:
    """The pair (dumps, loads); loads None: the bytes are the value."""
    if isinstance(serializer, str):
        if serializer not in _NAMED:
            names = ", ".join(["msgpack", *_NAMED])
            raise ValueError(f"there is no serializer {serializer!r}; there are {names}, or pass a pair (dumps, loads)")
        return _NAMED[serializer]()
    if not isinstance(serializer, tuple) or len(serializer) != 2 or not all(map(callable, serializer)):
        raise TypeError(f"serializer must be a str or a pair (dumps, loads) of callables, not {serializer!r}")
    return serializer
