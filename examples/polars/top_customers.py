# SPDX-License-Identifier: Apache-2.0
"""Who bought most, from a query whose result need not fit into memory."""

import os
import sqlite3

import forebay
import polars as pl

DATABASE = os.environ.get("SHOP_DATABASE", "../shop.sqlite")
QUERY = "SELECT customer, pieces * cents AS cents FROM orders JOIN products ON products.id = product"


def top_customers(database, count):
    sums = pl.DataFrame(schema={"customer": pl.Int64, "cents": pl.Int64})
    with forebay.batches(database, QUERY, max_bytes="64KiB") as batches:
        for batch in batches:
            sums = pl.concat([sums, pl.DataFrame(batch)]).group_by("customer").sum()
    return sums.sort(["cents", "customer"], descending=[True, False]).head(count)


if __name__ == "__main__":
    for customer, cents in top_customers(sqlite3.connect(DATABASE), 3).iter_rows():
        print(f"customer {customer}: {cents} cents")
