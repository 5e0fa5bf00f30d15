# SPDX-License-Identifier: Apache-2.0
"""Django's database pool option (5.1 and later) on forebay.pools.psycopg.

    DATABASES = {
        "default": {
            "ENGINE": "forebay.pools.django.postgresql",
            "NAME": "shop",
            "OPTIONS": {"pool": {"max_size": 8, "arena": "/dev/shm/shop.forebay", "arena_size": "64MiB", "host_max": 40}},
        }
    }

"pool" takes the arguments of forebay.pools.psycopg.ConnectionPool; arena may be a path,
which is opened when the pool is, and created with arena_size if that is given and it is
not there.  name is "django-" and the database's alias if not given.
"""
