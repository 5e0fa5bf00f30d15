# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/sources.md, on the servers of the tests; Cassandra's section: test_sources_cassandra.py."""

import doctest
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "sources.md"
PEOPLE = [(1, "Ada", "compilers"), (2, "Grace", "compilers"), (3, "Alan", None)]


def run_sections(wanted, names):
    """How many examples were run of the sections whose titles are wanted."""
    first, *sections = DOCUMENT.read_text().split("\n## ")
    text = "\n## ".join([first, *(section for section in sections if wanted(section.partition("\n")[0]))])
    test = doctest.DocTestParser().get_doctest(text, dict(names), DOCUMENT.name, str(DOCUMENT), 0)
    outcome = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test)
    assert outcome.failed == 0
    return outcome.attempted


@pytest.fixture
def users(postgres):
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE users (id int PRIMARY KEY, name text, team text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO users VALUES (%s, %s, %s)", PEOPLE)
        yield
        connection.execute("DROP TABLE users")


def test_the_document_does_what_it_says(postgres, redis_server, users):
    for block in DOCUMENT.read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    names = {"database": postgres.conninfo, "url": postgres.url, "redis_url": f"unix://{redis_server.socket_path}"}
    try:
        assert run_sections(lambda title: title != "Cassandra", names) >= 35
    finally:
        redis_server.call("FLUSHALL")
