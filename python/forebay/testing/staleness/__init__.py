# SPDX-License-Identifier: Apache-2.0
"""How far behind what other machines wrote reads are: several "machines" (arenas) of worker
processes on one tier, a process that changes rows, and a record of all of it."""
