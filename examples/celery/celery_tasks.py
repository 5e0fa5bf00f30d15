# SPDX-License-Identifier: Apache-2.0
"""Tasks that need products of the shop: looked up once on the machine, not once in each process."""

import os
import sqlite3

import forebay
from celery import Celery, group
from celery.utils.log import get_task_logger
from forebay import sources

DATABASE = os.environ.get("SHOP_DATABASE", "../shop.sqlite")
BROKER = os.environ.get("SHOP_BROKER", "redis://localhost/0")
log = get_task_logger(__name__)
table = sources.SQLite(lambda: sqlite3.connect(DATABASE), table="products", key="id")


def read_products(numbers):
    log.info("asked the database for %s", numbers)
    return table(numbers)


app = Celery("celery_tasks", broker=BROKER, backend=BROKER)
arena = forebay.deferred(os.environ.get("SHOP_ARENA", "/dev/shm/shop.forebay"), size="64MiB")  # who only sends tasks needs none


@app.task
def cents_of(product, pieces):
    products = arena.open().cache("products", ttl=300, load_many=read_products)
    return products.fetch(product)["cents"] * pieces


if __name__ == "__main__":
    orders = [(n % 50 + 1, n % 5 + 1) for n in range(1000)]
    print(sum(group(cents_of.s(*order) for order in orders)().get(timeout=60)), "cents")
