# SPDX-License-Identifier: Apache-2.0
"""Products of a shop over HTTP, from one arena for all workers."""

import logging
import os

import aiosqlite
import forebay
from fastapi import FastAPI, HTTPException

DATABASE = os.environ.get("SHOP_DATABASE", "../shop.sqlite")
log = logging.getLogger("gunicorn.error")


async def read_products(numbers):
    """One query for all that is missing at that moment; a dict of what there is."""
    log.info("asked the database for %s", numbers)
    marks = ", ".join("?" * len(numbers))
    async with aiosqlite.connect(DATABASE) as database:
        rows = await database.execute_fetchall(f"SELECT id, name, cents FROM products WHERE id IN ({marks})", numbers)
    return {number: {"id": number, "name": name, "cents": cents} for number, name, cents in rows}


app = FastAPI()
arena = forebay.open(os.environ.get("SHOP_ARENA", "/dev/shm/shop.forebay"), size="64MiB")
products = arena.cache("products", ttl=300, load_many=read_products)


@app.get("/products/{number}")
async def product(number: int):
    found = await products.afetch(number)
    if found is None:
        raise HTTPException(404, "no such product")
    return found | {"worker": os.getpid()}
