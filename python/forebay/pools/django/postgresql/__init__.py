# SPDX-License-Identifier: Apache-2.0
"""A Django database backend; see forebay.pools.django."""
