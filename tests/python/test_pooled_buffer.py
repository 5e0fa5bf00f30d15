# SPDX-License-Identifier: Apache-2.0
"""PooledBuffer: memory to read into, which is nobody else's while it is seen."""

import asyncio
import gc
import socket
import struct
import threading
import weakref

import forebay
import numpy
import pytest
from buffer_pools import LONG, figures, in_thread, pool  # pool: a fixture


# ---- a buffer ----


def test_a_buffer_is_writable_and_as_long_as_asked_for(pool):
    with pool.buffer(5000) as buf:
        assert len(buf) == buf.nbytes == 5000 and buf.capacity == 8192
        with memoryview(buf) as memory:
            assert not memory.readonly and memory.format == "B" and memory.contiguous and len(memory) == 5000
        buf[0], buf[-1], buf[1:4] = 1, 2, b"abc"
        assert buf[0] == 1 and buf[4999] == 2 and buf[:4] == b"\1abc" and isinstance(buf[:4], memoryview)
        assert bytes(buf) == buf.tobytes() == buf and buf != b"" and buf != "text"
        struct.pack_into("<I", buf, 8, 77)
        assert struct.unpack_from("<I", buf, 8) == (77,)
        numpy.frombuffer(buf, "u1")[10] = 9
        assert buf[10] == 9
        assert repr(buf) == "<forebay.PooledBuffer of 5000 bytes, room for 8192>"
    assert buf.released and repr(buf) == "<forebay.PooledBuffer, released>"


def test_the_memory_is_used_again_by_the_next(pool):
    with pool.buffer(4096) as buf:
        buf[:5] = b"hello"
    with pool.buffer(100) as buf:
        assert buf[:5] == b"hello" and len(buf) == 100
    assert figures(pool, "hits", "misses", "in_use", "idle") == (1, 1, 0, 1)


def test_files_and_sockets_read_into_it(pool, folder):
    (folder / "file").write_bytes(b"x" * 3000)
    ours, theirs = socket.socketpair()
    with ours, theirs, pool.buffer("8KiB") as buf, open(folder / "file", "rb", buffering=0) as file:
        assert file.readinto(buf) == 3000
        theirs.sendall(b"y" * 100)
        assert ours.recv_into(buf[3000:]) == 100
        buf.resize(3100)
        assert buf == b"x" * 3000 + b"y" * 100


def test_a_buffered_protocol_gets_its_buffer_from_the_pool(pool):
    class Receiver(asyncio.BufferedProtocol):
        def __init__(self, done):
            self.done, self.data = done, b""

        def get_buffer(self, sizehint):
            self.buf = pool.acquire(4096)
            return self.buf

        def buffer_updated(self, nbytes):
            self.data += self.buf[:nbytes]
            self.buf.release()

        def eof_received(self):
            self.done.set_result(self.data)

    async def main():
        ours, theirs = socket.socketpair()
        done = asyncio.get_running_loop().create_future()
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: Receiver(done), sock=ours)
        theirs.sendall(b"z" * 10000)
        theirs.close()
        data = await asyncio.wait_for(done, LONG)
        transport.close()
        return data

    assert asyncio.run(main()) == b"z" * 10000


def test_resize_stays_within_the_capacity_and_keeps_the_bytes(pool):
    with pool.buffer(10) as buf:
        buf[:] = b"0123456789"
        view = memoryview(buf)
        buf.resize(4)
        assert buf == b"0123" and view == b"0123456789"
        buf.resize(0)
        assert len(buf) == 0 and buf == b""
        buf.resize(4096)
        assert len(buf) == 4096 and buf[:10] == b"0123456789"
        with pytest.raises(ValueError, match="from 0 to the capacity, 4096 bytes, not 4097"):
            buf.resize(4097)
        with pytest.raises(ValueError, match="not -1"):
            buf.resize(-1)
        with pytest.raises(TypeError):
            buf.resize("4")
        assert len(buf) == 4096
        view.release()


def test_what_a_buffer_refuses(pool):
    with pool.buffer(10) as buf:
        with pytest.raises(IndexError):
            buf[10]
        with pytest.raises(ValueError):
            buf[:2] = b"abc"
        with pytest.raises(TypeError, match="resize"):
            del buf[0]
        with pytest.raises(TypeError):
            hash(buf)
    with pytest.raises(TypeError, match=r"BufferPool.buffer\(\) makes buffers"):
        type(buf)()


@pytest.mark.parametrize(
    "use",
    [
        len,
        memoryview,
        bytes,
        lambda buf: buf[0],
        lambda buf: buf[:1],
        lambda buf: buf.__setitem__(0, 1),
        lambda buf: buf.resize(1),
        lambda buf: buf.tobytes(),
        lambda buf: buf.capacity,
        lambda buf: buf.nbytes,
        lambda buf: buf.__enter__(),
    ],
)
def test_a_released_buffer_cannot_be_used(pool, use):
    buf = pool.acquire(10)
    buf.release()
    buf.release()
    with pytest.raises(ValueError, match="the buffer was released"):
        use(buf)
    assert buf == buf and buf != b""
    assert figures(pool, "in_use", "idle") == (0, 1)


# ---- nobody gets memory that is still seen ----


def test_memory_goes_back_when_the_last_memoryview_ends(pool):
    with pool.buffer(4096) as buf:
        view = buf[:10]
        other = memoryview(buf)
        view[:] = b"0123456789"
    assert buf.released and view == b"0123456789"
    assert figures(pool, "in_use", "idle", "viewed") == (1, 0, 1)
    with pool.buffer(4096) as another:
        another[:10] = b"x" * 10
        assert view == b"0123456789" == other[:10]
    view.release()
    assert figures(pool, "in_use", "viewed") == (1, 1)
    other.release()
    assert figures(pool, "in_use", "viewed", "idle") == (0, 0, 2)


def test_a_forgotten_buffer_goes_back_by_itself(pool):
    buf = pool.acquire(4096)
    view = memoryview(buf)
    del buf
    gc.collect()
    assert figures(pool, "in_use") == (1,)
    view[0] = 1
    del view
    assert figures(pool, "in_use", "idle") == (0, 1)


def test_a_buffer_in_a_cycle_goes_back_with_it(pool):
    class Holder:
        pass

    holder = Holder()
    holder.buf, holder.self = pool.acquire(4096), holder
    holder.view = memoryview(holder.buf)
    del holder
    gc.collect()
    assert figures(pool, "in_use") == (0,)


def test_buffers_outlive_the_name_of_their_pool():
    pool = forebay.BufferPool("1MiB")
    gone = weakref.ref(pool)
    buf = pool.acquire(4096)
    del pool
    buf[:3] = b"abc"
    assert buf[:3] == b"abc" and gone() is not None
    buf.release()
    del buf
    assert gone() is None


def test_threads_that_release_and_look_at_once_give_it_back_once(pool):
    for _ in range(300):
        buf = pool.acquire(4096)
        start = threading.Barrier(3)

        def release():
            start.wait()
            buf.release()

        def look():
            start.wait()
            try:
                memoryview(buf).release()
            except ValueError:
                pass

        threads = [in_thread(release), in_thread(release), in_thread(look)]
        for thread, _ in threads:
            thread.join()
        assert figures(pool, "in_use", "idle", "viewed") == (0, 1, 0)
