# SPDX-License-Identifier: Apache-2.0
"""What all orders come to, by four processes that share one arena: usage: python sum_orders.py fork|spawn"""

import multiprocessing
import os
import sqlite3
import sys
from multiprocessing.reduction import DupFd

import forebay
from forebay import sources

DATABASE = os.environ.get("SHOP_DATABASE", "../shop.sqlite")
table = sources.SQLite(lambda: sqlite3.connect(DATABASE), table="products", key="id")


def begin(descriptor):
    """In each process of the pool, once."""
    global products, counters
    arena = forebay.open_fd(descriptor.detach())
    products = arena.cache("products", load_many=read_products)
    counters = arena.cache("counters")


def read_products(numbers):
    counters.incr("read from the database", len(numbers))
    return table(numbers)


def cents_of(orders):
    there = products.fetch_many({product for product, _ in orders})
    return sum(there[product]["cents"] * pieces for product, pieces in orders)


def main(method):
    with sqlite3.connect(DATABASE) as database:
        orders = database.execute("SELECT product, pieces FROM orders").fetchall()
    parts = [orders[at : at + 100] for at in range(0, len(orders), 100)]
    arena = forebay.open(None, size="16MiB")  # of this job alone, gone with it
    context = multiprocessing.get_context(method)
    with context.Pool(4, begin, [DupFd(arena.fileno())]) as pool:
        print(sum(pool.imap_unordered(cents_of, parts)), "cents")
    print(arena.cache("counters").get("read from the database"), "products read from the database")


if __name__ == "__main__":
    main(sys.argv[1])
