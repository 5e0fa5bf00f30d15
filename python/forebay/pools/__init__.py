# SPDX-License-Identifier: Apache-2.0
"""Ready-made pools on forebay.Pool and forebay.AsyncPool, a module for each driver.

    psycopg      ConnectionPool, AsyncConnectionPool, as psycopg_pool's
    asyncpg      create_pool(), Pool
    redis        ConnectionPool, BlockingConnectionPool; those for asyncio in redis_asyncio
    valkey       the same; valkey_asyncio
    pymemcache   PooledClient, HashClient
    sqlite3      ConnectionPool
    sqlalchemy   ForebayPool, AsyncForebayPool, poolclass(), for create_engine(poolclass=)
    django       ENGINE = "forebay.pools.django.postgresql"

A driver is imported with its module, and by nothing else; `pip install forebay[psycopg]`
and so on.  All of them take host_max=, arena= and name=: at most so many connections of
that name over all processes of the machine; docs/guides/driver-pools.md.
"""
