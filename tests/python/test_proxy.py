# SPDX-License-Identifier: Apache-2.0
"""The proxy that breaks the network in tests: it hands on every byte, or does the harm that it was asked for."""

import hashlib
import os
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress

import pytest
import redis
from forebay.testing import proxy as proxy_module
from forebay.testing.proxy import Proxy

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

SECONDS = 30  # until something that must happen has happened
A_WHILE = 0.2  # in which something that must not happen would


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def read_exactly(sock, count):
    parts = []
    while count:
        part = sock.recv(min(count, 1 << 20))
        assert part, f"{count} bytes are missing"
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def is_silent(sock):
    return not select.select([sock], [], [], A_WHILE)[0]


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        listener.settimeout(SECONDS)
        yield listener


@pytest.fixture
def proxy(listener):
    with Proxy(listener.getsockname()) as proxy:
        yield proxy


@contextmanager
def connected(proxy, listener):
    """Both ends of a connection through the proxy, with time limits."""
    with socket.create_connection(proxy.address, SECONDS) as client:
        server, _ = listener.accept()
        with server:
            server.settimeout(SECONDS)
            yield client, server


@pytest.fixture
def ends(proxy, listener):
    with connected(proxy, listener) as ends:
        yield ends


def test_what_is_said_arrives_both_ways(ends, proxy):
    client, server = ends
    for number in range(100):
        client.sendall(b"question %03d" % number)
        assert read_exactly(server, 12) == b"question %03d" % number
        server.sendall(b"answer %03d" % number)
        assert read_exactly(client, 10) == b"answer %03d" % number
    assert proxy.connections == proxy.accepted == 1


@pytest.mark.parametrize("listen_on_unix", [False, True])
def test_a_target_may_be_a_unix_socket_and_the_proxy_one(tmp_path, listen_on_unix):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "target"))
        listener.listen()
        listener.settimeout(SECONDS)
        with Proxy(tmp_path / "target", *([tmp_path / "proxy"] if listen_on_unix else [])) as proxy:
            with socket.socket(socket.AF_UNIX if listen_on_unix else socket.AF_INET) as client:
                client.settimeout(SECONDS)
                client.connect(proxy.path if listen_on_unix else proxy.address)
                server, _ = listener.accept()
                with server:
                    client.sendall(b"one")
                    assert read_exactly(server, 3) == b"one"
                    proxy.cut()
                    assert server.recv(1) == b""
                    with pytest.raises(ConnectionResetError) if not listen_on_unix else nullcontext():
                        assert client.recv(1) == b""
        assert not (tmp_path / "proxy").exists()


def test_the_other_kind_of_address_is_an_error(proxy, tmp_path):
    with pytest.raises(RuntimeError, match="listens on a port"):
        proxy.path
    with Proxy(proxy.address, tmp_path / "proxy") as other, pytest.raises(RuntimeError, match="on a unix socket"):
        other.address


def test_an_address_that_is_taken_is_an_error(listener, leaves_nothing_open):
    with pytest.raises(OSError, match="in use"):
        Proxy(listener.getsockname(), listener.getsockname())


def test_held_bytes_arrive_in_order_when_it_goes_on(ends, proxy):
    client, server = ends
    proxy.hold()
    client.sendall(b"a")
    server.sendall(b"x")
    assert is_silent(server) and is_silent(client)
    client.sendall(b"bc")
    proxy.go_on()
    assert read_exactly(server, 3) == b"abc"
    assert read_exactly(client, 1) == b"x"
    assert proxy.connections == 1


def test_answers_alone_can_be_held(ends, proxy):
    client, server = ends
    proxy.hold(to_server=False)
    client.sendall(b"ask")
    assert read_exactly(server, 3) == b"ask"
    server.sendall(b"tell")
    assert is_silent(client)
    proxy.go_on(to_client=False)
    assert is_silent(client)
    proxy.go_on()
    assert read_exactly(client, 4) == b"tell"


def test_questions_alone_can_be_held(ends, proxy):
    client, server = ends
    proxy.hold(to_client=False)
    server.sendall(b"push")
    assert read_exactly(client, 4) == b"push"
    client.sendall(b"ask")
    assert is_silent(server)
    proxy.go_on(to_client=False)
    assert read_exactly(server, 3) == b"ask"


def test_the_end_of_a_connection_is_held_too(ends, proxy):
    client, server = ends
    proxy.hold()
    client.sendall(b"last")
    client.close()
    assert is_silent(server)
    proxy.go_on()
    assert read_exactly(server, 4) == b"last"
    assert server.recv(1) == b""


def test_connections_are_taken_while_it_holds(proxy, listener):
    proxy.hold()
    with connected(proxy, listener) as (client, server):
        client.sendall(b"hello")
        assert is_silent(server)
        proxy.go_on()
        assert read_exactly(server, 5) == b"hello"


def test_half_a_connection_may_end_before_the_other(ends, proxy):
    client, server = ends
    client.sendall(b"all")
    client.shutdown(socket.SHUT_WR)
    assert read_exactly(server, 3) == b"all"
    assert server.recv(1) == b""
    server.sendall(b"answer")
    assert read_exactly(client, 6) == b"answer"
    assert proxy.connections == 1
    server.close()
    assert client.recv(1) == b""
    wait_for(lambda: proxy.connections == 0)


def test_cut_connections_are_reset_at_both_ends_and_new_ones_work(ends, proxy, listener):
    client, server = ends
    proxy.cut()
    assert proxy.connections == 0
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with connected(proxy, listener) as (client, server):
        client.sendall(b"x")
        assert read_exactly(server, 1) == b"x"


def test_cut_reaches_connections_that_wait_for_the_target_to_take_them(proxy):
    with ExitStack() as clients:
        some = [clients.enter_context(socket.create_connection(proxy.address, SECONDS)) for _ in range(5)]
        proxy.cut()
        assert proxy.accepted == 5
        for client in some:
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_a_reset_is_handed_on(ends, proxy):
    client, server = ends
    proxy_module.reset(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    wait_for(lambda: proxy.connections == 0)


def test_a_child_of_a_fork_does_not_keep_connections_open(ends, proxy):
    client, server = ends
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(ready[1], b"1" if calls_are_refused(proxy) else b"0")
            os.close(go[1])
            os.read(go[0], 1)
        finally:
            os._exit(0)
    os.close(go[0])
    assert os.read(ready[0], 1) == b"1"
    proxy.cut()
    client.setblocking(False)
    wait_for(lambda: select.select([client], [], [], 0)[0])
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    for descriptor in (go[1], *ready):
        os.close(descriptor)
    os.waitpid(child, 0)


def calls_are_refused(proxy):
    proxy.close()
    try:
        proxy.cut()
    except RuntimeError as error:
        return "belongs to the process" in str(error)


def test_refused_connections_are_refused_and_the_others_stay(ends, proxy, listener):
    client, server = ends
    proxy.refuse()
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(proxy.address, SECONDS)
    client.sendall(b"still")
    assert read_exactly(server, 5) == b"still"
    proxy.cut()
    proxy.accept()
    proxy.accept()
    with connected(proxy, listener) as (client, server):
        client.sendall(b"again")
        assert read_exactly(server, 5) == b"again"


def test_a_unix_socket_refuses_and_accepts_too(tmp_path, listener):
    def connect():
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(proxy.path)
        except BaseException:
            client.close()
            raise
        return client

    with Proxy(listener.getsockname(), tmp_path / "p") as proxy:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect()
        proxy.accept()
        with connect() as client, listener.accept()[0] as server:
            client.sendall(b"x")
            assert read_exactly(server, 1) == b"x"
        proxy.refuse()


def test_a_target_that_takes_no_connection_resets_the_client(proxy, listener):
    listener.close()
    with pytest.raises(ConnectionResetError), socket.create_connection(proxy.address, SECONDS) as client:
        client.recv(1)
    wait_for(lambda: proxy.connections == 0)


def test_a_unix_target_that_is_not_there_resets_the_client(tmp_path):
    with Proxy(tmp_path / "nothing") as proxy, pytest.raises(ConnectionResetError):
        with socket.create_connection(proxy.address, SECONDS) as client:
            client.recv(1)


def test_the_target_may_change(proxy, ends):
    with socket.create_server(("127.0.0.1", 0)) as other:
        proxy.target = other.getsockname()
        other.settimeout(SECONDS)
        with connected(proxy, other) as (client, server):
            server.sendall(b"other")
            assert read_exactly(client, 5) == b"other"


def test_delayed_bytes_arrive_that_much_later(ends, proxy):
    client, server = ends
    proxy.delay(0.3)
    begun = time.monotonic()
    client.sendall(b"a")
    assert read_exactly(server, 1) == b"a"
    assert time.monotonic() - begun >= 0.3
    server.sendall(b"b")
    assert read_exactly(client, 1) == b"b"
    assert time.monotonic() - begun >= 0.6
    proxy.delay(60, to_server=False)
    proxy.delay(0, to_client=False)
    client.sendall(b"c")
    assert read_exactly(server, 1) == b"c"
    server.sendall(b"d")
    assert is_silent(client)


def test_a_delay_keeps_the_order_when_it_ends(ends, proxy):
    client, server = ends
    proxy.delay(0.3)
    client.sendall(b"first")
    proxy.delay(0)  # it may not have read the first yet: then that is not delayed either
    client.sendall(b"second")
    client.shutdown(socket.SHUT_WR)
    assert read_exactly(server, 11) == b"firstsecond"
    assert server.recv(1) == b""


def test_a_delay_is_no_limit_to_the_throughput(ends, proxy):
    client, server = ends
    proxy.delay(0.2)
    size = 8 << 20  # in pieces one after another, each delayed alone, it would take 6 s
    with ThreadPoolExecutor() as pool:
        begun = time.monotonic()
        pool.submit(client.sendall, bytes(size))
        read_exactly(server, size)
    assert 0.2 <= time.monotonic() - begun < 5


def test_a_negative_delay_is_refused(proxy):
    with pytest.raises(ValueError, match="not negative: -1"):
        proxy.delay(-1)


def test_nothing_is_lost_or_swapped_while_it_is_held_and_goes_on(ends, proxy):
    client, server = ends
    size, chunk = 32 << 20, os.urandom(1 << 20)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def send():
        for number in range(size // len(chunk)):
            part = chunk[number:] + chunk[:number]
            sent.update(part)
            client.sendall(part)

    def receive():
        for _ in range(size // len(chunk)):
            got.update(read_exactly(server, len(chunk)))

    with ThreadPoolExecutor() as pool:
        both = [pool.submit(send), pool.submit(receive)]
        while not both[1].done():
            proxy.hold()
            proxy.delay(0.01)
            proxy.go_on()
            proxy.delay(0)
        for future in both:
            future.result()
    assert sent.digest() == got.digest()


@pytest.mark.parametrize("held", [False, True])
def test_who_sends_waits_for_who_does_not_read(ends, proxy, held):
    client, server = ends
    if held:
        proxy.hold()
    client.setblocking(False)
    sent = 0
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.5:
        try:
            sent += client.send(bytes(1 << 16))
            quiet_since = time.monotonic()
        except BlockingIOError:
            pass
        assert sent < 1 << 28, "the proxy takes without end"
    proxy.go_on()
    read_exactly(server, sent)


def test_a_hundred_connections_at_once(proxy, listener):
    with ExitStack() as stack:
        pairs = [stack.enter_context(connected(proxy, listener)) for _ in range(100)]
        assert proxy.connections == 100
        for number, (client, server) in enumerate(pairs):
            client.sendall(bytes([number]) * 10_000)
            server.sendall(bytes([number + 100]) * 10_000)
        for number, (client, server) in enumerate(pairs):
            assert read_exactly(server, 10_000) == bytes([number]) * 10_000
            assert read_exactly(client, 10_000) == bytes([number + 100]) * 10_000
    wait_for(lambda: proxy.connections == 0)


def test_it_is_fast_enough_not_to_be_what_is_measured(ends):
    client, server = ends
    size = 200 << 20
    with ThreadPoolExecutor() as pool:
        begun = time.monotonic()
        pool.submit(client.sendall, bytes(size))
        left, buffer = size, bytearray(1 << 20)
        while left:
            left -= server.recv_into(buffer)
    assert time.monotonic() - begun < 20


def test_drivers_see_a_hang_a_cut_and_a_refusal(redis_server):
    with Proxy(redis_server.socket_path) as proxy:
        with redis.Redis(*proxy.address, socket_timeout=0.3, retry=None) as client:
            assert client.ping()
            proxy.hold(to_server=False)
            with pytest.raises(redis.TimeoutError):
                client.ping()
            proxy.go_on()
            assert client.ping()
            proxy.cut()
            proxy.refuse()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            proxy.accept()
            assert client.ping()


def test_close_ends_all_of_it(listener, leaves_nothing_open):
    threads = threading.active_count()
    proxy = Proxy(listener.getsockname())
    with connected(proxy, listener) as (client, server):
        proxy.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(proxy.address, SECONDS)
    proxy.close()
    assert threading.active_count() == threads
    with pytest.raises(RuntimeError, match="closed"):
        proxy.hold()


def test_a_proxy_that_failed_says_so(listener, monkeypatch, leaves_nothing_open):
    with Proxy(listener.getsockname()) as proxy:
        monkeypatch.setattr(proxy, "_connect", lambda client: (client.close(), 1 / 0))
        with suppress(ConnectionResetError):
            socket.create_connection(proxy.address, SECONDS).close()
        wait_for(lambda: not proxy._thread.is_alive())
        with pytest.raises(RuntimeError, match="closed") as caught:
            proxy.cut()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_a_call_raises_is_the_callers(proxy, ends):
    def fail():
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        proxy._call(fail)
    proxy.hold()
