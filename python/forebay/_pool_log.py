# SPDX-License-Identifier: Apache-2.0
"""What pools write to the log."""

from forebay import _log

logger = _log.pool


def hook_failed(hook: str, what: object, error: BaseException) -> None:
    """A hook raised: what it was called with is dropped."""
    logger.warning("%s() of a pool failed with %r: the %s is dropped", hook, error, type(what).__name__, exc_info=error)
