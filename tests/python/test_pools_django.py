# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.django under Django, in processes of their own: its settings are global."""

import json
import subprocess
import sys
import textwrap

import pytest

from backends import Database

pytestmark = pytest.mark.long

PROLOGUE = """
    import json, os, sys, threading
    import django
    from django.conf import settings
    orders = json.loads(sys.argv[1])
    settings.configure(DATABASES={"default": orders["database"]}, INSTALLED_APPS=[], USE_TZ=True, TIME_ZONE="Europe/Berlin", ALLOWED_HOSTS=[])
    django.setup()
    from django.db import connection, connections, transaction, close_old_connections, DatabaseError
    from django.core.exceptions import ImproperlyConfigured
    from django.core.signals import request_finished

    def tell(query):
        with connection.cursor() as cursor:
            cursor.execute(query)

    def ask(query, *arguments):
        with connection.cursor() as cursor:
            cursor.execute(query, arguments)
            return cursor.fetchone()[0]
"""


@pytest.fixture
def database(postgres):
    database = Database(postgres, "test_pools_django")
    yield database
    database.close()


@pytest.fixture
def run(database, postgres):
    """Run a program under Django; `pool`: the option."""

    def run(program, pool=True, **settings):
        options = {"pool": pool, "application_name": database.application}
        where = {"ENGINE": "forebay.pools.django.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": postgres.host,
                 "PORT": str(postgres.port), "OPTIONS": options, **settings}  # fmt: skip
        text = textwrap.dedent(PROLOGUE) + textwrap.dedent(program)
        words = [sys.executable, "-W", "error", "-c", text, json.dumps({"database": where})]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_queries_go_through_the_pool(run):
    run("""
        from forebay.pools.psycopg import ConnectionPool
        assert ask("SELECT 1") == 1
        pool = connection.pool
        assert isinstance(pool, ConnectionPool)
        assert (pool.name, pool.get_stats()["requests_num"]) == ("django-default", 1)
        mine = ask("SELECT pg_backend_pid()")
        connection.close()
        assert pool.get_stats()["pool_available"] == 1
        assert ask("SELECT pg_backend_pid()") == mine
        assert pool.get_stats()["requests_num"] == 2
        connection.close()
    """, pool={"min_size": 1})  # fmt: skip


def test_connections_are_configured_as_django_does(run):
    run("""
        assert ask("SHOW timezone") == "Europe/Berlin"
        assert connection.connection.autocommit
        connection.close()
        with transaction.atomic():
            assert ask("SHOW timezone") == "Europe/Berlin"
    """, TIME_ZONE="Europe/Berlin")  # fmt: skip


def test_transactions_commit_and_roll_back(run, database):
    run("""
        tell("CREATE TABLE words (word text)")
        with transaction.atomic():
            tell("INSERT INTO words VALUES ('kept')")
        try:
            with transaction.atomic():
                tell("INSERT INTO words VALUES ('lost')")
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        transaction.set_autocommit(False)
        tell("INSERT INTO words VALUES ('lost, too')")
        connection.close()
        assert ask("SELECT string_agg(word, ' ') FROM words") == "kept"
        tell("DROP TABLE words")
    """)  # fmt: skip


def test_threads_share_few_connections(run):
    run(
        """
        import forebay
        def work():
            for _ in range(10):
                ask("SELECT pg_sleep(0.001)")
                request_finished.send(None)
                connection.close()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        figures = connection.pool.get_stats()
        assert figures["requests_num"] == 80 and figures["connections_num"] <= 2, figures
        assert not connection.pool.checked_out()
        """,
        pool={"min_size": 0, "max_size": 2},
    )


def test_with_health_checks_nobody_gets_a_dead_connection(run):
    run(
        """
        import psycopg
        mine = ask("SELECT pg_backend_pid()")
        database = orders["database"]
        connection.close()
        with psycopg.connect(host=database["HOST"], port=database["PORT"], user="postgres", dbname="postgres", autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [mine])
        assert ask("SELECT pg_backend_pid()") != mine
        assert connection.pool.get_stats()["connections_lost"] == 1
        connection.close()
        """,
        pool={"min_size": 1, "max_size": 1},
        CONN_HEALTH_CHECKS=True,
    )


def test_who_waits_too_long_gets_djangos_error(run):
    run(
        """
        from django.db.utils import OperationalError
        ask("SELECT 1")
        seen = []
        def other():
            try:
                ask("SELECT 1")
            except OperationalError as error:
                seen.append(str(error))
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "1 of at most 1 are out" in seen[0], seen
        connection.close()
        """,
        pool={"min_size": 1, "max_size": 1, "timeout": 0.1},
    )


def test_the_machines_limit_is_an_option(run, path):
    run(
        f"""
        import forebay
        ask("SELECT 1")
        with forebay.open({str(path)!r}) as arena:
            limit = arena.limits()["django-default"]
            assert (limit["most"], limit["held"]) == (3, 1)
        assert connection.pool._arena.path == {str(path)!r}
        connection.close()
        """,
        pool={"min_size": 0, "max_size": 2, "arena": str(path), "arena_size": "1MiB", "host_max": 3},
    )


def test_a_child_has_connections_of_its_own(run):
    run("""
        mine = ask("SELECT pg_backend_pid()")
        connection.close()
        pid = os.fork()
        if pid == 0:
            os._exit(0 if ask("SELECT pg_backend_pid()") != mine else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert ask("SELECT pg_backend_pid()") == mine
        connection.close()
    """, pool={"min_size": 1})  # fmt: skip


def test_a_closed_pool_is_made_anew(run):
    run("""
        ask("SELECT 1")
        before = connection.pool
        connection.close()
        connection.close_pool()
        assert before.closed
        assert ask("SELECT 1") == 1
        assert connection.pool is not before
        connection.close()
    """)  # fmt: skip


def test_without_the_option_there_is_no_pool(run):
    run("assert connection.pool is None and ask('SELECT 1') == 1", pool=False)


@pytest.mark.parametrize(
    ("pool", "settings", "text"),
    [
        (True, {"CONN_MAX_AGE": 60}, "leave it at 0"),
        ({"arena_size": "1MiB"}, {}, "an arena_size but no arena"),
        ({"max_sise": 3}, {}, "max_sise"),
        ({"host_max": 3}, {}, "go together"),
        ({"min_size": 0}, {}, "there is to be a max_size"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, pool, settings, text):
    program = f"""
        try:
            ask("SELECT 1")
        except (ImproperlyConfigured, TypeError, ValueError) as error:
            assert {text!r} in str(error), str(error)
        else:
            raise AssertionError("accepted")
    """
    run(program, pool=pool, **settings)


def test_a_test_database_is_made_and_taken_away(run, database):
    run("""
        from django.test.utils import get_runner
        from django.test.runner import DiscoverRunner
        runner = DiscoverRunner(verbosity=0, interactive=False)
        old = connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        assert ask("SELECT current_database()") == "test_postgres"
        connection.close()
        connection.creation.destroy_test_db("postgres", verbosity=0)
    """)  # fmt: skip
    assert database.ask("SELECT count(*) FROM pg_database WHERE datname = 'test_postgres'") == 0
