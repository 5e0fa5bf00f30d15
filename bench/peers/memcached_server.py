# SPDX-License-Identifier: Apache-2.0
import pylibmc
from pymemcache.client.base import Client

from peer_servers import memcached_socket
from peers import Peer, Place


class Memcached(Peer):
    """The server runs already; the harness moves it to the CPU before each turn."""

    shares = "a server"
    lacks = "reads without a round trip; readers stop with the server"
    server = "memcached"


class Pymemcache(Memcached):
    name = "pymemcache, server on the other core"
    packages = ("pymemcache",)
    mode = "unix socket, Client without a serializer; sets do not wait for the answer, its default"

    def __init__(self, place: Place) -> None:
        self.client = Client(str(memcached_socket(place.folder)))
        self.get, self.set, self.get_many = self.client.get, self.client.set, self.client.get_many

    def close(self) -> None:
        self.client.close()


class PymemcacheSameCore(Pymemcache):
    name = "pymemcache, server on the same core"
    server_cpu = 0


class Pylibmc(Memcached):
    name = "pylibmc, server on the other core"
    packages = ("pylibmc",)
    mode = "unix socket, text protocol"

    def __init__(self, place: Place) -> None:
        self.client = pylibmc.Client([str(memcached_socket(place.folder))])
        self.get, self.set, self.get_many = self.client.get, self.client.set, self.client.get_multi

    def close(self) -> None:
        self.client.disconnect_all()


class PylibmcSameCore(Pylibmc):
    name = "pylibmc, server on the same core"
    server_cpu = 0


PEERS = [PymemcacheSameCore, Pymemcache, PylibmcSameCore, Pylibmc]
