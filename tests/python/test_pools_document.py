# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/driver-pools.md, on the servers of the tests."""

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "driver-pools.md"


def test_the_document_does_what_it_says(postgres, redis_server, memcached_server):
    for block in DOCUMENT.read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    names = {
        "database": postgres.conninfo,
        "url": postgres.url,
        "sqlalchemy_url": postgres.url.replace("postgresql://", "postgresql+psycopg://"),
        "redis_url": f"unix://{redis_server.socket_path}",
        "memcached": f"unix:{memcached_server.socket_path}",
    }
    outcome = doctest.testfile(str(DOCUMENT), module_relative=False, globs=names)
    assert outcome.attempted >= 35
    assert outcome.failed == 0
