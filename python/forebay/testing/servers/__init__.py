# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL, Redis, Valkey, memcached and Cassandra servers for tests, with sockets in a folder of the caller's.

    with servers.start_postgres(folder) as server:
        connection = psycopg.connect(server.conninfo)

They are the programs that the machine has installed, with nothing in them and nothing
of the machine's configuration, and end with close(), or with the thread that started
them.  Other users do not reach a unix socket; what has a port (where one is asked for,
a cluster, Cassandra) answers whoever is on the machine.  A process that is root starts
PostgreSQL and memcached, which refuse to be, as another user.  A program that is not
installed is a RuntimeError that names it.
"""

from __future__ import annotations

from forebay.testing.servers._cassandra import CassandraServer, start_cassandra
from forebay.testing.servers._memcached import MemcachedServer, start_memcached, start_memcacheds
from forebay.testing.servers._ports import free_ports
from forebay.testing.servers._postgres import PostgresServer, find_postgres, postgres_version, start_postgres
from forebay.testing.servers._programs import find, version
from forebay.testing.servers._redis import RedisServer, start_redis
from forebay.testing.servers._redis_cluster import ClusterNode, RedisCluster, key_slot, start_redis_cluster
from forebay.testing.servers._resp import ReplyError
from forebay.testing.servers._server import Server, ServerList

__all__ = [
    "CassandraServer",
    "ClusterNode",
    "MemcachedServer",
    "PostgresServer",
    "RedisCluster",
    "RedisServer",
    "ReplyError",
    "Server",
    "ServerList",
    "find",
    "find_postgres",
    "free_ports",
    "key_slot",
    "postgres_version",
    "start_cassandra",
    "start_memcached",
    "start_memcacheds",
    "start_postgres",
    "start_redis",
    "start_redis_cluster",
    "version",
]
