# SPDX-License-Identifier: Apache-2.0
"""A second tier under a cache: a key-value server that machines share.

What is here so far are stores (_store.py): a user's own client of such a server, as
tiers use it.  No driver is imported; they are told by their objects."""
