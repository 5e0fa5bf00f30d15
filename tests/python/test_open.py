# SPDX-License-Identifier: Apache-2.0
import errno
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import forebay

MIB = 2**20
pytestmark = pytest.mark.usefixtures("leaves_nothing_open")


# ---- sizes ----


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2 * MIB, 2 * MIB),
        ("2MiB", 2 * MIB),
        ("2 MiB", 2 * MIB),
        (" 2 mib ", 2 * MIB),
        ("2048 KiB", 2 * MIB),
        ("1.5 MiB", 3 * MIB // 2),
        ("8192000", 8192000),
        ("8192000 B", 8192000),
        ("8MB", 8000000 // 4096 * 4096),
        ("0.0625 GiB", 64 * MIB),
        (2 * MIB + 4095, 2 * MIB),
    ],
)
def test_a_size_is_bytes_or_text_with_a_unit_rounded_down_to_pages(size, expected):
    with forebay.open(None, size) as arena:
        assert arena.size == expected


@pytest.mark.parametrize(
    "size",
    [
        "",
        "MiB",
        "12 parsecs",
        "-5MiB",
        "1,5MiB",
        "1.MiB",
        "0",
        "0.1B",
        0,
        -1,
        2**64,
        2**70,
        "1e9",
        "٣MiB",
        "inf",
    ],
)
def test_a_senseless_size_is_a_value_error(path, size):
    with pytest.raises(ValueError, match="size"):
        forebay.open(path, size)
    assert not path.exists()


@pytest.mark.parametrize("size", [1.5, True, b"1MiB", [], object()])
def test_a_size_of_another_type_is_a_type_error(path, size):
    with pytest.raises(TypeError, match="size must be"):
        forebay.open(path, size)
    assert not path.exists()


@pytest.mark.parametrize("size", [1, 4096, MIB - 1, "200GiB", 2**62])
def test_a_size_out_of_bounds_says_the_bounds(path, size):
    with pytest.raises(forebay.InvalidError, match="1 MiB and 128 GiB"):
        forebay.open(path, size)
    assert not path.exists()


def test_the_smallest_arena_works(path):
    with forebay.open(path, MIB) as arena:
        cache = arena.cache("c")
        cache["k"] = "v"
        assert cache["k"] == "v"


def test_the_file_takes_exactly_the_size(path):
    with forebay.open(path, "4MiB"):
        status = path.stat()
    assert status.st_size == 4 * MIB
    assert status.st_blocks * 512 == 4 * MIB


# ---- what exists ----


def test_without_a_size_a_missing_arena_is_not_found_and_not_made(path):
    with pytest.raises(forebay.NotFoundError, match="size") as caught:
        forebay.open(path)
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(path)
    assert not path.exists()


def test_without_a_size_an_arena_is_opened_as_it_is(path):
    with forebay.open(path, "2MiB") as arena:
        arena.cache("c")["k"] = 1
    with forebay.open(path) as arena:
        assert arena.size == 2 * MIB
        assert arena.cache("c")["k"] == 1


def test_another_size_warns_with_both_sizes_and_opens_the_arena_as_it_is(path):
    with forebay.open(path, "2MiB") as arena:
        arena.cache("c")["k"] = 1
    with pytest.warns(forebay.SizeWarning, match=f"{2 * MIB} bytes, not of the {4 * MIB}") as caught:
        arena = forebay.open(path, "4MiB")
    assert caught[0].filename == __file__
    with arena:
        assert arena.size == 2 * MIB
        assert arena.cache("c")["k"] == 1


def test_a_warning_made_an_error_leaves_nothing_open(path):
    forebay.open(path, "2MiB").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(forebay.SizeWarning):
            forebay.open(path, "4MiB")


def test_the_same_size_does_not_warn(path):
    for _ in range(2):
        forebay.open(path, "2MiB").close()
        forebay.open(path, 2 * MIB + 1).close()


# ---- paths ----


def test_a_path_may_be_str_bytes_or_path_like(path):
    for form in (path, str(path), os.fsencode(path)):
        with forebay.open(form, "1MiB") as arena:
            assert arena.path == str(path)


def test_a_relative_path_is_shown_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with forebay.open("here.forebay", "1MiB") as arena:
        assert arena.path == str(folder / "here.forebay")
        monkeypatch.chdir("/")
        assert not arena.info()["replaced"]


def test_a_path_that_is_not_utf8_works(folder):
    name = os.fsencode(folder) + b"/\xff\xfe.forebay"
    with forebay.open(name, "1MiB") as arena:
        assert os.fsencode(arena.path) == name
        repr(arena)


@pytest.mark.parametrize("bad", [1, 1.5, [], object()])
def test_a_path_of_another_type_is_a_type_error(bad):
    with pytest.raises(TypeError):
        forebay.open(bad, "1MiB")


@pytest.mark.parametrize("bad", ["", b"", "/dev/shm/a\0b"])
def test_an_empty_path_or_one_with_a_zero_is_a_value_error(bad):
    with pytest.raises(ValueError):
        forebay.open(bad, "1MiB")


def test_a_directory_is_refused(folder):
    with pytest.raises(forebay.ArenaError, match="directory") as caught:
        forebay.open(folder, "1MiB")
    assert caught.value.filename == str(folder)
    assert list(folder.iterdir()) == []


def test_a_missing_folder_is_not_found(folder):
    with pytest.raises(forebay.NotFoundError, match="folder"):
        forebay.open(folder / "no" / "x.forebay", "1MiB")
    assert list(folder.iterdir()) == []


def test_a_device_is_refused():
    with pytest.raises(forebay.Error):
        forebay.open("/dev/null", "1MiB")


def test_a_name_that_is_too_long_is_an_arena_error(folder):
    with pytest.raises(forebay.ArenaError) as caught:
        forebay.open(folder / ("x" * 300), "1MiB")
    assert caught.value.errno == errno.ENAMETOOLONG


@pytest.mark.parametrize("content", [b"hello", b"\0" * 4096, b"\xff" * 2 * MIB, b"FOREBAY1" + b"\0" * 8192])
def test_a_file_that_is_no_arena_is_refused_and_kept(path, content):
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises((forebay.CorruptError, forebay.VersionError)):
        forebay.open(path, "1MiB")
    assert path.read_bytes() == content


def test_an_empty_file_becomes_an_arena(path):
    path.touch(mode=0o600)
    with forebay.open(path, "1MiB") as arena:
        assert arena.verify() == []


# ---- permissions ----


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def try_open_as_nobody(*arguments):
    """What open() raises in a child that has become a user without rights: type and errno, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            forebay.open(*arguments)
            outcome = "opened"
        except OSError as error:
            outcome = f"{type(error).__name__} {error.errno}"
        except BaseException as error:
            outcome = repr(error)
        os.write(writer, outcome.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        outcome = pipe.read()
    os.waitpid(pid, 0)
    return outcome


@as_root
def test_another_users_private_file_is_denied(path, folder):
    folder.chmod(0o755)
    forebay.open(path, "1MiB").close()
    assert try_open_as_nobody(path) == f"DeniedError {errno.EACCES}"


@as_root
def test_a_folder_without_permission_is_denied(folder):
    folder.chmod(0o755)
    assert try_open_as_nobody(folder / "x.forebay", "1MiB") == f"DeniedError {errno.EACCES}"
    assert list(folder.iterdir()) == []


@as_root
def test_a_file_of_another_owner_needs_trust(path):
    forebay.open(path, "1MiB").close()
    os.chown(path, 65534, 65534)
    with pytest.raises(forebay.DeniedError, match="trust"):
        forebay.open(path)
    forebay.open(path, trust=True).close()


def test_a_file_that_others_may_write_needs_trust(path):
    forebay.open(path, "1MiB").close()
    path.chmod(0o666)
    with pytest.raises(forebay.DeniedError, match="trust") as caught:
        forebay.open(path)
    assert isinstance(caught.value, PermissionError)
    forebay.open(path, trust=True).close()


def test_a_new_file_is_private(path):
    forebay.open(path, "1MiB").close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_mode_decides_who_may_open_it(path):
    previous = os.umask(0)
    try:
        forebay.open(path, "1MiB", mode=0o640).close()
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0, 0o400, 0o1600, -1, 0o066])
def test_a_mode_that_locks_the_owner_out_is_a_value_error(path, mode):
    with pytest.raises(ValueError, match="mode"):
        forebay.open(path, "1MiB", mode=mode)


@pytest.mark.parametrize("mode", ["rw", 6.0, None, True])
def test_a_mode_of_another_type_is_a_type_error(path, mode):
    with pytest.raises(TypeError, match="mode"):
        forebay.open(path, "1MiB", mode=mode)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10])
def test_a_senseless_timeout_is_a_value_error(path, timeout):
    with pytest.raises(ValueError, match="timeout"):
        forebay.open(path, "1MiB", timeout=timeout)


@pytest.mark.parametrize("timeout", ["1", None, True])
def test_a_timeout_of_another_type_is_a_type_error(path, timeout):
    with pytest.raises(TypeError, match="timeout"):
        forebay.open(path, "1MiB", timeout=timeout)


def test_more_than_the_file_system_has_is_no_space_and_leaves_nothing(path):
    statistics = os.statvfs(path.parent)
    free = statistics.f_bavail * statistics.f_frsize
    if free + 2**30 > 128 * 2**30:
        pytest.skip("the tmpfs is larger than the largest arena")
    with pytest.raises(forebay.NoSpaceError) as caught:
        forebay.open(path, free + 2**30)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOSPC
    assert not path.exists()


def test_wrong_keywords_are_type_errors(path):
    with pytest.raises(TypeError):
        forebay.open(path, "1MiB", colour="red")
    with pytest.raises(TypeError):
        forebay.open(path, "1MiB", 0o600)
    with pytest.raises(TypeError):
        forebay.open()


def test_guard_opens_an_arena_that_works(path):
    with forebay.open(path, "1MiB", guard=True) as arena:
        arena.cache("c")["k"] = 1
        assert arena.cache("c")["k"] == 1


# ---- anonymous arenas and descriptors ----


def test_an_anonymous_arena_needs_a_size():
    with pytest.raises(ValueError, match="size"):
        forebay.open(None)


def test_an_anonymous_arena_has_no_path():
    with forebay.open(None, "1MiB") as arena:
        assert arena.path is None
        assert "anonymous" in repr(arena)


def test_a_descriptor_opens_the_same_arena():
    with forebay.open(None, "1MiB") as arena, forebay.open_fd(arena.fileno()) as other:
        arena.cache("c")["k"] = "shared"
        assert other.cache("c")["k"] == "shared"
        assert other.fileno() != arena.fileno()
        assert other.size == arena.size


def test_the_arena_of_a_descriptor_outlives_the_descriptor():
    with forebay.open(None, "1MiB") as arena:
        descriptor = os.dup(arena.fileno())
        arena.cache("c")["k"] = 1
    other = forebay.open_fd(descriptor)
    os.close(descriptor)
    with other:
        assert other.cache("c")["k"] == 1


def test_a_descriptor_passes_over_a_socket_to_another_process():
    child = (
        "import socket, sys, forebay\n"
        "side = socket.socket(fileno=int(sys.argv[1]))\n"
        "_, descriptors, _, _ = socket.recv_fds(side, 1, 1)\n"
        "forebay.open_fd(descriptors[0]).cache('c')['from child'] = 1\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs, forebay.open(None, "1MiB") as arena:
        worker = subprocess.Popen(
            [sys.executable, "-c", child, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        socket.send_fds(ours, [b"x"], [arena.fileno()])
        assert worker.wait(60) == 0
        assert arena.cache("c")["from child"] == 1


@pytest.mark.parametrize("fd", ["1", 1.5, None, True])
def test_a_descriptor_of_another_type_is_a_type_error(fd):
    with pytest.raises(TypeError, match="fd"):
        forebay.open_fd(fd)


@pytest.mark.parametrize("fd", [-1, 2**31, 2**40])
def test_an_impossible_descriptor_is_a_value_error(fd):
    with pytest.raises(ValueError, match="fd"):
        forebay.open_fd(fd)


def test_a_closed_descriptor_is_an_error():
    with pytest.raises(forebay.Error):
        forebay.open_fd(2**20 - 1)


def test_a_descriptor_of_something_else_is_an_error(tmp_path):
    with open(tmp_path / "x", "w+b") as file, pytest.raises(forebay.Error):
        forebay.open_fd(file.fileno())


# ---- closing ----


def test_closing_twice_is_fine_and_everything_else_then_fails(path):
    arena = forebay.open(path, "1MiB")
    cache = arena.cache("c")
    assert not arena.closed
    arena.close()
    arena.close()
    assert arena.closed
    calls = [
        lambda: arena.size,
        lambda: arena.max_entry,
        lambda: arena.cache("c"),
        lambda: arena.drop("c"),
        lambda: cache["k"],
        lambda: cache.set("k", 1),
        lambda: cache.set("k", {}),
        lambda: cache.set_many({"k": 1}),
        lambda: cache.get_many(["k"]),
        lambda: cache.delete_many(["k"]),
        lambda: cache.delete("k"),
        lambda: cache.incr("k"),
        lambda: "k" in cache,
        lambda: len(cache),
        lambda: cache.ttl,
        arena.caches,
        arena.info,
        arena.rows,
        arena.stats,
        arena.verify,
        arena.fileno,
        arena.__enter__,
        cache.clear,
        cache.stats,
    ]
    for call in calls:
        with pytest.raises(forebay.ClosedError, match="closed"):
            call()
    assert "closed" in repr(arena)
    assert "closed" in repr(cache)
    assert arena.path == str(path)
    assert cache.name == "c"
    assert cache.arena is arena


def test_an_arena_that_nobody_holds_is_closed(path):
    cache = forebay.open(path, "1MiB").cache("c")
    cache["k"] = 1
    assert cache["k"] == 1  # the cache holds the arena
    del cache
    assert open_file_count(path) == 0


def open_file_count(path):
    links = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    ]
    return links.count(str(path)) + Path("/proc/self/maps").read_text().count(str(path))


def test_a_block_that_raises_closes_the_arena_and_passes_the_error_on(path):
    with pytest.raises(ZeroDivisionError):
        with forebay.open(path, "1MiB") as arena:
            1 / 0
    assert arena.closed


def test_two_handles_in_one_process_are_one_arena(path):
    with forebay.open(path, "1MiB") as one, forebay.open(path) as two:
        one.cache("c")["k"] = 1
        assert two.cache("c")["k"] == 1
        one.close()
        assert two.cache("c")["k"] == 1


def test_a_thousand_opens_leave_nothing_behind(path):
    for _ in range(1000):
        forebay.open(path, "1MiB").close()
    with forebay.open(path) as arena:
        assert arena.info()["rows_used"] == 1


# ---- reports ----


def test_info_describes_the_arena(arena):
    info = arena.info()
    assert info["size"] == arena.size == 16 * MIB
    assert info["rows_used"] == 1
    assert info["caches_used"] == 0
    assert info["replaced"] is False
    assert info["on_disk"] is False
    assert len(info["uuid"]) == 16 and info["uuid"] == arena.info()["uuid"]
    assert set(info) == set(forebay.ArenaInfo.__annotations__)
    arena.cache("c")["k"] = 1
    assert arena.info()["caches_used"] == 1
    assert arena.info()["index_slots_used"] == 1


def test_rows_list_every_open_handle(path):
    with forebay.open(path, "1MiB") as one, forebay.open(path) as two:
        rows = one.rows()
        assert len(rows) == 2
        assert {row["pid"] for row in rows} == {os.getpid()}
        assert all(row["alive"] for row in rows)
        assert all(set(row) == set(forebay.RowInfo.__annotations__) for row in rows)
        two.close()
        assert len(one.rows()) == 1


def test_stats_has_every_cache(arena):
    arena.cache("one")["k"] = 1
    arena.cache("two")
    stats = arena.stats()
    assert set(stats) == {"one", "two"} == set(arena.caches())
    assert stats["one"]["sets"] == 1
    assert stats["two"]["sets"] == 0
    assert set(stats["one"]) == set(forebay.CacheStats.__annotations__)


def test_verify_finds_nothing_wrong_with_a_used_arena(arena, cache):
    for i in range(1000):
        cache[i] = b"x" * i
    assert arena.verify() == []


def test_verify_reports_damage(path):
    with forebay.open(path, "1MiB") as arena:
        cache = arena.cache("c")
        for i in range(500):
            cache[i] = i
        with open(path, "r+b") as file:
            file.seek(arena.info()["metadata_bytes"] // 2)  # records of segments
            file.write(b"\xa5" * 64)
        messages = arena.verify()
        assert messages
        assert all(isinstance(message, str) and message for message in messages)
