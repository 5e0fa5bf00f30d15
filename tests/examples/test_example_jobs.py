# SPDX-License-Identifier: Apache-2.0
"""Jobs of several processes, and a stream, give what the database itself says."""

import sqlite3

import pytest
from forebay.testing import servers


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_four_processes_of_a_pool_read_each_product_once(shop, method):
    with sqlite3.connect(shop.database) as database:
        ((total,),) = database.execute("SELECT sum(pieces * cents) FROM orders JOIN products ON products.id = product")
    printed = shop.run("multiprocessing", "python", "sum_orders.py", method)
    assert printed == f"{total} cents\n50 products read from the database\n"


def test_polars_sums_what_the_database_sums(shop):
    query = """SELECT customer, sum(pieces * cents) AS cents FROM orders JOIN products ON products.id = product
        GROUP BY customer ORDER BY cents DESC, customer LIMIT 3"""
    with sqlite3.connect(shop.database) as database:
        top = database.execute(query).fetchall()
    lines = [f"customer {customer}: {cents} cents\n" for customer, cents in top]
    assert shop.run("polars", "python", "top_customers.py") == "".join(lines)


def test_celery_tasks_of_four_processes_ask_for_each_product_once(shop):
    with sqlite3.connect(shop.database) as database:
        cents = dict(database.execute("SELECT id, cents FROM products"))
    total = sum(cents[n % 50 + 1] * (n % 5 + 1) for n in range(1000))
    worker = ["celery", "--app", "celery_tasks", "worker", "--concurrency", "4", "--loglevel", "INFO"]
    with servers.start_redis(shop.folder) as redis:
        broker = {"SHOP_BROKER": f"redis+socket://{redis.socket_path}"}
        with shop.running("celery", *worker, **broker) as program:
            assert shop.run("celery", "python", "celery_tasks.py", **broker) == f"{total} cents\n"
            assert sorted(program.asked()) == sorted(cents)
