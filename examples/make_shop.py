# SPDX-License-Identifier: Apache-2.0
"""Make the database of the examples: usage: python make_shop.py PATH"""

import sqlite3
import sys

PRODUCTS, CUSTOMERS, ORDERS = 50, 100, 20_000


def make_shop(path):
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, cents INTEGER)")
        database.executemany(
            "INSERT INTO products VALUES (?, ?, ?)", ((n, f"product {n}", 100 + 7 * n) for n in range(1, PRODUCTS + 1))
        )
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, product INTEGER, pieces INTEGER)")
        database.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?)",
            ((n, n * 37 % CUSTOMERS + 1, n * 11 % PRODUCTS + 1, n % 5 + 1) for n in range(1, ORDERS + 1)),
        )
    database.close()


if __name__ == "__main__":
    make_shop(sys.argv[1])
