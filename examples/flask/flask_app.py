# SPDX-License-Identifier: Apache-2.0
"""Products of a shop over HTTP, from one arena for all workers."""

import logging
import os
import sqlite3

import forebay
from flask import Flask, abort
from forebay import sources

DATABASE = os.environ.get("SHOP_DATABASE", "../shop.sqlite")
log = logging.getLogger("gunicorn.error")
table = sources.SQLite(lambda: sqlite3.connect(DATABASE), table="products", key="id")


def read_products(numbers):
    log.info("asked the database for %s", numbers)
    return table(numbers)


app = Flask(__name__)
arena = forebay.open(os.environ.get("SHOP_ARENA", "/dev/shm/shop.forebay"), size="64MiB")
products = arena.cache("products", ttl=300, load_many=read_products)


@app.get("/products/<int:number>")
def product(number):
    found = products.fetch(number)
    if found is None:
        abort(404)
    return found | {"worker": os.getpid()}
