"""Whoever was erased stays erased in a database that was restored."""

import logging

from accounts.replaying import close_erased_accounts, replay_erasures
from common.health import UnhealthyError, check_migrations

logger = logging.getLogger(__name__)


def replay() -> None:
    """Afterwards nobody of the ledger is in the restored database or in the storage.

    Of a database of an older version only their accounts are closed: it has not the functions
    that erase. `migrate` and `replay_erasures` do the rest.
    """
    try:
        check_migrations()
    except UnhealthyError:
        closed = close_erased_accounts()
        logger.warning(
            "%d accounts of people who were erased are closed: run migrate, then replay_erasures",
            closed,
        )
        return
    replay_erasures()
