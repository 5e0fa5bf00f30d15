# SPDX-License-Identifier: Apache-2.0
"""Opening arenas: checks of the arguments, and the outcome that is no error."""

import math
import os
import re
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from forebay._core import Arena, Cache, SizeWarning, open_arena, open_arena_fd

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_PAGE = 4096
_SIZE_MAX = 2**63 - 1
_TIMEOUT_MAX = (2**32 - 1) / 1000  # the library counts milliseconds in 32 bits


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None,
    size: int | str | None = None,
    *,
    mode: int = 0o600,
    trust: bool = False,
    guard: bool = False,
    timeout: float = 10.0,
) -> Arena:
    """Open the arena at path, creating it with size bytes if it is not there.

    path: a file, best on a tmpfs such as /dev/shm; None makes an anonymous
    arena, shared with children of os.fork() and through Arena.fileno().

    size: all the memory the arena will ever take, reserved now: an int, or a str
    such as "256MiB", "1.5 GiB" (KiB = 1024) or "64MB" (KB = 1000).  Omitted: open
    what exists, never create.  An arena that exists keeps its size; if that is
    another one, it is opened as it is, with a SizeWarning.

    mode: permissions of a new file.  trust: accept a file of another owner, or
    one that others may write to.  guard: survive truncation of the file while
    it is mapped (installs a SIGBUS handler).  timeout: seconds to wait while
    another process creates the arena.

    Any number of processes may open the same path at once; exactly one creates
    it.  Raises ArenaError (an OSError) and its kinds NotFoundError, DeniedError,
    NoSpaceError, BusyError and TimeoutError; CorruptError and VersionError for
    files that are no usable arena; TypeError and ValueError for wrong arguments.
    On any error nothing is left open and no half-made file behind.
    """
    wanted = 0 if size is None else parse_size(size)
    options = _check_mode(mode), bool(trust), bool(guard), _parse_timeout(timeout)
    if path is None:
        if size is None:
            raise ValueError("an anonymous arena (path None) needs a size")
        return open_arena(None, wanted, *options)
    name = os.path.abspath(os.fsencode(path))
    if not os.fsencode(path):
        raise ValueError("path is empty; pass None for an anonymous arena")
    arena = open_arena(name, wanted, *options)
    if wanted and not 0 <= wanted - arena.size < _PAGE:  # a size is rounded down to pages
        _warn_of_size(arena, wanted)
    return arena


# What reopen() opened here, as long as somebody holds it.
_reopened: weakref.WeakValueDictionary[tuple[str, bool, bool], Arena] = weakref.WeakValueDictionary()
_reopening = threading.Lock()


def reopen(path: str, trust: bool, guard: bool) -> Arena:
    """The arena of a pickle: the same object for all that are unpickled in this process."""
    with _reopening:
        arena = _reopened.get((path, trust, guard))
        if arena is None or arena.closed:
            arena = open(path, trust=trust, guard=guard)
            _reopened[(path, trust, guard)] = arena
        return arena


def reopen_cache(
    arena: Arena,
    name: str,
    version: int,
    serializer: Any,
    lazy: bool,
    memo: int,
    encode_hook: Any,
    decode_hook: Any,
    loading: dict[str, Any] | None,
) -> Cache[Any, Any]:
    """The cache of a pickle."""
    cache: Cache[Any, Any] = arena.cache(
        name,
        version=version,
        serializer=serializer,
        lazy=lazy,
        memo=memo,
        encode_hook=encode_hook,
        decode_hook=decode_hook,
        **(loading or {}),
    )
    return cache


class DeferredArena:
    """An arena that is opened, by whoever is first, when something of it is called.

    Made by deferred(), for modules that are imported where no arena may be
    opened.  Threads may share it; the child of a fork uses the parent's.
    """

    def __init__(self, path: Any, size: Any, options: dict[str, Any]) -> None:
        self._arguments = path, size, options
        self._arena: Arena | None = None
        self._lock = threading.Lock()

    def open(self) -> Arena:
        """The arena, opened if it is not."""
        if self._arena is None:
            with self._lock:
                if self._arena is None:
                    path, size, options = self._arguments
                    self._arena = open(path, size, **options)
        return self._arena

    def memoize(self, function: Any = None, /, **options: Any) -> Any:
        """Arena.memoize(); the arena is opened at the function's first call."""
        from forebay._memoize import memoize

        return memoize(self.open, function, **options)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or not hasattr(Arena, name):
                raise AttributeError(f"'DeferredArena' object has no attribute {name!r}", name=name, obj=self)
            raise AttributeError(f"a deferred arena has no {name}: where it may be opened, call .open().{name}", name=name, obj=self)

    def __reduce__(self) -> tuple[Any, ...]:
        return DeferredArena, self._arguments

    def __repr__(self) -> str:
        state = "not opened yet" if self._arena is None else repr(self._arena)
        return f"<forebay.DeferredArena {self._arguments[0]!r}: {state}>"


def deferred(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None,
    size: int | str | None = None,
    **options: Any,
) -> DeferredArena:
    """An arena that is opened at the first call: the arguments are open()'s.

    The sizes are looked at now, the file is not.
    """
    if size is not None:
        parse_size(size)
    if unknown := options.keys() - {"mode", "trust", "guard", "timeout"}:
        raise TypeError(f"deferred() got an unexpected keyword argument {min(unknown)!r}")
    return DeferredArena(path, size, options)


def open_fd(fd: int, *, trust: bool = False, guard: bool = False, timeout: float = 10.0) -> Arena:
    """Open the arena of a descriptor: Arena.fileno() of another process.

    Pass it with multiprocessing.reduction.DupFd, socket.send_fds() or the
    pass_fds of subprocess.  fd stays the caller's; the arena keeps a duplicate.
    trust, guard, timeout and errors: as open().
    """
    if isinstance(fd, bool) or not isinstance(fd, int):
        raise TypeError(f"fd must be an int, not {type(fd).__name__}")
    if not 0 <= fd < 2**31:
        raise ValueError(f"fd is not a descriptor: {fd}")
    return open_arena_fd(fd, bool(trust), bool(guard), _parse_timeout(timeout))


def parse_size(size: int | str, what: str = "size") -> int:
    """Bytes of an argument called `what`."""
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f'{what} must be an int, or a str such as "256MiB", not {type(size).__name__}')
    number = _size_from_text(size, what) if isinstance(size, str) else size
    if number <= 0:
        raise ValueError(f"{what} must be more than 0 bytes: {size!r}")
    if number > _SIZE_MAX:
        raise ValueError(f"{what} is too large: {size!r}")
    return number


def _size_from_text(text: str, what: str) -> int:
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f'{what} is not understood: {text!r}; write bytes, or a number and a unit such as "256MiB"'
        )
    whole, _, fraction = match[1].partition(".")
    scale = int("1" + "0" * len(fraction))
    return int(whole) * unit + int(fraction or "0") * unit // scale  # exact at any length


def _check_mode(mode: int) -> int:
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"mode must be an int such as 0o600, not {type(mode).__name__}")
    if not 0 <= mode <= 0o777 or mode & 0o600 != 0o600:
        raise ValueError(f"mode must let the owner read and write, and be at most 0o777: {mode:#o}")
    return mode


def _parse_timeout(timeout: float) -> int:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds (int or float), not {type(timeout).__name__}")
    if not 0 < timeout <= _TIMEOUT_MAX:
        raise ValueError(f"timeout must be more than 0 and at most {_TIMEOUT_MAX:.0f} seconds: {timeout!r}")
    return math.ceil(timeout * 1000)


def _warn_of_size(arena: Arena, wanted: int) -> None:
    warnings.warn(
        f"{arena.path} is an arena of {arena.size} bytes, not of the {wanted} asked for, and is used as it is; "
        "to resize it, stop all its processes, delete the file and open it again",
        SizeWarning,
        stacklevel=3,
    )
