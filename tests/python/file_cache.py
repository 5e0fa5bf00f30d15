# SPDX-License-Identifier: Apache-2.0
"""A small cache in files that does what the conformance suite asks for, and broken ones: the suite has to find out each.

Processes that die lose their locks.  The moments between a look at a lease and what
follows from it are not guarded: no check aims at them."""

import fcntl
import hashlib
import os
import pickle
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from forebay.testing import conformance
from forebay.testing.conformance import MISS, Adapter

POLL = 0.002
SPARE = 1 << 20  # bytes: more than all processes write at once without the lock


class FileCache(Adapter):
    offers = frozenset({conformance.LOAD, conformance.OVERTAKE, conformance.DEADLINE, conformance.TTL, conformance.BUDGET})
    budget_bytes = None

    def __init__(self, place):
        self.folder = Path(place.folder)
        self.load_timeout = place.load_timeout
        self.budget_bytes = place.budget_bytes

    def path(self, key, kind):
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.{kind}"

    def get(self, key):
        try:
            until, value = pickle.loads(self.path(key, "value").read_bytes())
        except FileNotFoundError:
            return MISS
        return value if until is None or time.time() < until else MISS

    def set(self, key, value, ttl=None):
        self.store(key, value, ttl)
        self.path(key, "lease").unlink(missing_ok=True)

    def store(self, key, value, ttl=None):
        data = pickle.dumps((None if ttl is None else time.time() + ttl, value))
        with self.one_at_a_time(only_if_full=True):
            self.make_room(len(data))
            new = self.folder / f"{uuid.uuid4()}.new"
            new.write_bytes(data)
            new.rename(self.path(key, "value"))

    @contextmanager
    def one_at_a_time(self, only_if_full=False):
        """Whoever is stopped in here stops others, so only those go in who have to."""
        with open(self.folder / "room", "w") as lock:
            if not only_if_full or self.bytes_there() > self.budget_bytes / 2:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def sizes(self):
        found = []
        for entry in os.scandir(self.folder):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, entry.path))
        return sorted(found)

    def make_room(self, size):
        found = self.sizes()
        total = sum(size for _, size, _ in found)
        for _, old, path in found:
            if total + size + SPARE <= self.budget_bytes:
                break
            if path.endswith(".value"):
                Path(path).unlink(missing_ok=True)
                total -= old

    def delete(self, key):
        self.path(key, "lease").unlink(missing_ok=True)
        self.path(key, "value").unlink(missing_ok=True)

    def take(self, key):
        """A lease: a file that is locked as long as its owner lives; None: it is somebody else's."""
        lease = os.open(self.path(key, "lease"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.holds(key, lease):
                os.utime(lease)
                return lease
        except BlockingIOError:
            taken = os.fstat(lease).st_mtime
            if time.time() - taken > self.load_timeout:
                time.sleep(0.05)  # somebody may have it since a moment ago, and be about to say so
                if os.fstat(lease).st_mtime == taken and self.holds(key, lease):
                    self.path(key, "lease").unlink(missing_ok=True)
        os.close(lease)
        return None

    def holds(self, key, lease):
        try:
            return self.path(key, "lease").stat().st_ino == os.fstat(lease).st_ino
        except FileNotFoundError:
            return False

    def get_or_load(self, key, load, timeout):
        end = time.monotonic() + timeout
        while (value := self.get(key)) is MISS:
            if (lease := self.take(key)) is not None:
                try:
                    return self.load_with(key, load, lease)
                finally:
                    os.close(lease)
            if time.monotonic() > end:
                raise TimeoutError(key)
            time.sleep(POLL)
        return value

    def load_with(self, key, load, lease):
        if (value := self.get(key)) is MISS:
            value = load()
            if self.holds(key, lease):
                self.store(key, value)
        return value

    def used_bytes(self):
        with self.one_at_a_time():
            return self.bytes_there()

    def bytes_there(self):
        return sum(size for _, size, _ in self.sizes())


class LoadsForEachProcess(FileCache):
    def get_or_load(self, key, load, timeout):
        value = self.get(key)
        if value is MISS:
            value = load()
            self.store(key, value)
        return value


class WaitsForTheDead(FileCache):
    """Its leases do not end with their owners, only with the time."""

    def take(self, key):
        path = self.path(key, "lease")
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        except FileExistsError:
            pass
        try:
            if time.time() - path.stat().st_mtime > self.load_timeout:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        return None

    def load_with(self, key, load, lease):
        try:
            return super().load_with(key, load, lease)
        finally:
            if self.holds(key, lease):
                self.path(key, "lease").unlink(missing_ok=True)


class NeverOvertakes(FileCache):
    def __init__(self, place):
        super().__init__(place)
        self.load_timeout = 3600.0


class KeepsLateValues(FileCache):
    def holds(self, key, lease):
        return self.path(key, "lease").exists()

    def load_with(self, key, load, lease):
        value = load()
        self.store(key, value)
        return value


class KeepsFailures(FileCache):
    def load_with(self, key, load, lease):
        try:
            return super().load_with(key, load, lease)
        except Exception:
            self.store(key, b"failed")
            raise


class AnswersFailuresWithNothing(FileCache):
    def load_with(self, key, load, lease):
        try:
            return super().load_with(key, load, lease)
        except Exception:
            return b""


class IgnoresDeadlines(FileCache):
    def get_or_load(self, key, load, timeout):
        return super().get_or_load(key, load, timeout=3600.0)


class Torn(FileCache):
    """Writes in place."""

    def store(self, key, value, ttl=None):
        data = pickle.dumps((None, value))
        with open(self.path(key, "value"), "r+b" if self.path(key, "value").exists() else "wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            file.write(data[len(data) // 2 :])

    def get(self, key):
        try:
            return pickle.loads(self.path(key, "value").read_bytes())[1]
        except (FileNotFoundError, EOFError, pickle.UnpicklingError):
            return MISS


class MixesKeysUp(FileCache):
    def path(self, key, kind):
        return super().path(key.replace("large-1", "large-0"), kind)


class TakesWhatItWants(FileCache):
    def make_room(self, size):
        pass


class StoresNothingWhenFull(FileCache):
    def store(self, key, value, ttl=None):
        if self.bytes_there() + len(value) + SPARE <= self.budget_bytes:
            super().store(key, value, ttl)


class LivesForEver(FileCache):
    def store(self, key, value, ttl=None):
        super().store(key, value)


class IsOfOneProcess(FileCache):
    """A dict; what others set it does not see."""

    def __init__(self, place):
        super().__init__(place)
        self.entries = {}

    def get(self, key):
        return self.entries.get(key, MISS)

    def store(self, key, value, ttl=None):
        self.entries[key] = value

    def delete(self, key):
        self.entries.pop(key, None)


class WritesUnderALock(FileCache):
    """Whoever is stopped in it stops the others."""

    def set(self, key, value, ttl=None):
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            time.sleep(0.001)
            super().set(key, value, ttl)


class DiesWithItsWriter(FileCache):
    """Forgets everything when a writer was killed: its lock file is left."""

    def set(self, key, value, ttl=None):
        marks = [mark for mark in os.listdir(self.folder) if mark.startswith("writing-")]
        if any(not Path("/proc", mark.removeprefix("writing-")).exists() for mark in marks):
            for _, _, path in self.sizes():
                Path(path).unlink(missing_ok=True)
        (self.folder / f"writing-{os.getpid()}").touch()  # at once there or not: a kill leaves no half of it
        super().set(key, value, ttl)


class IsClosedByFork(FileCache):
    def __init__(self, place):
        super().__init__(place)
        self.pid = os.getpid()

    def get(self, key):
        return super().get(key) if os.getpid() == self.pid else MISS


class OpensNothing(FileCache):
    def __init__(self, place):
        raise RuntimeError("there is nothing here")


class EndsItsProcess(FileCache):
    def get(self, key):
        os._exit(3)


class OffersNothing(FileCache):
    offers = frozenset()
