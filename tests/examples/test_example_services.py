# SPDX-License-Identifier: Apache-2.0
"""Web services with four workers ask the database for each product once, whatever happens to the workers."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

UVICORN = ["--worker-class", "uvicorn_worker.UvicornWorker"]
SERVICES = {
    "fastapi": ["fastapi", "fastapi_app:app", *UVICORN],
    "flask": ["flask", "flask_app:app"],
    "flask preloaded": ["flask", "flask_app:app", "--preload"],
}
PRODUCTS = range(1, 51)


class Connection(http.client.HTTPConnection):
    """To a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Service:
    """A gunicorn of four workers on one of the examples."""

    def __init__(self, program, path):
        self.program, self.path = program, path

    def get(self, number):
        """Status and body of a product's page."""
        with contextlib.closing(Connection(self.path)) as connection:
            connection.request("GET", f"/products/{number}")
            answer = connection.getresponse()
            return answer.status, answer.read()

    def product(self, number):
        status, body = self.get(number)
        assert status == 200, (status, body)
        return json.loads(body)

    def answers(self):
        try:
            self.get(1)
        except OSError:
            assert not self.program.ended()
            return False
        return True

    def all_products(self):
        """Every product by many clients at once, twice; by number."""
        with ThreadPoolExecutor(16) as clients:
            found = list(clients.map(self.product, [*PRODUCTS, *PRODUCTS]))
        return {product.pop("id"): product for product in found}

    def workers_that_answered(self, count):
        """Ask until that many workers have answered."""
        seen = set()
        until(lambda: len(seen) >= count or seen.update(p["worker"] for p in self.all_products().values()))
        return seen


def until(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def serving(shop, example, application, *options):
    path = shop.folder / "http.sock"
    command = ["gunicorn", "--workers", "4", "--bind", f"unix:{path}", "--no-control-socket", *options, application]
    with shop.running(example, *command) as program:
        service = Service(program, path)
        until(service.answers)
        yield service


@pytest.mark.parametrize("name", SERVICES)
def test_each_product_is_asked_for_once_over_all_workers_kills_and_restarts(shop, name):
    with serving(shop, *SERVICES[name]) as service:
        workers = service.workers_that_answered(4)
        assert service.all_products()[7]["name"] == "product 7"
        assert sorted(service.program.asked()) == list(PRODUCTS)

        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        until(lambda: f"(pid:{killed}) was sent SIGKILL" in service.program.log.read_text())
        assert service.workers_that_answered(4) - workers  # by a new one, too
        assert sorted(service.program.asked()) == list(PRODUCTS)

        assert service.get(1000)[0] == 404

    with serving(shop, *SERVICES[name]) as service:  # the next release
        assert len(service.all_products()) == len(PRODUCTS)
        assert service.program.asked() == []
