"""Whether the keys of the settings are those that the database was sealed with.

A lost or a wrong key is a sentence when a process starts, and not garbage later.
"""

import logging

from django.db import DatabaseError, connections

from common.encryption.data_keys import WrappedKey, registered_store
from common.encryption.errors import (
    DecryptionError,
    EncryptionError,
    KeyServiceError,
    MissingKeyError,
)
from common.encryption.lookup import seal_for_lookup
from common.encryption.providers import LOCAL, Context, active_provider, provider_named

logger = logging.getLogger(__name__)

LOOKUP_KEY = "look-up"
KNOWN_TEXT = "The key that this was sealed with is the right one."


def verify_keys() -> None:
    """Raises MissingKeyError with a sentence for each key that is missing or another one.

    Of the keys that wrap data keys those in use are looked at, and the active one of a service,
    which must answer: KeyServiceError if it does not.
    """
    problems = [problem_of_lookup_key(), _problem_of_active_key()]
    problems += [problem_of(row, context) for row, context in registered_store().one_of_each()]
    if any(problems):
        raise MissingKeyError(" ".join(filter(None, problems)))


def problem_of(row: WrappedKey, context: Context) -> str:
    """Why what wraps this data key cannot open it; nothing if it can."""
    try:
        provider_named(row.provider).unwrap(row.key_id, row.wrapped or b"", context)
    except MissingKeyError as error:
        return str(error)
    except DecryptionError:
        return (
            f"ENCRYPTION_KEYS has another key {row.key_id} than the one that wrapped the keys in"
            " this database: put that one back."
            if row.provider == LOCAL
            else f"AWS KMS does not open what its key {row.key_id} wrapped."
        )
    return ""


def refuse_wrong_keys() -> None:
    """Where a process starts: with wrong keys it ends, and says in a sentence what to do.

    Without a database, or an answer of the service that holds the keys, it goes on: that may
    pass, and /readyz tells of it.
    """
    try:
        verify_keys()
    except (DatabaseError, KeyServiceError) as error:
        logger.warning("the keys could not be verified: %s", type(error).__name__)
    except EncryptionError as error:
        logger.critical("%s", error)
        raise SystemExit(str(error)) from None
    finally:
        # Processes that this one forks must not share its connections.
        for connection in connections.all(initialized_only=True):
            connection.close()
            if "pool" in connection.settings_dict["OPTIONS"]:
                connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's has it


def problem_of_lookup_key() -> str:
    """Why addresses would not be found; nothing if they are."""
    proof = seal_for_lookup(KNOWN_TEXT, LOOKUP_KEY)
    if registered_store().proof_of(LOOKUP_KEY, proof) == proof:
        return ""
    return (
        "ENCRYPTION_ROOT_KEY is another key than the one that this database was begun with, and"
        " nobody would be found by e-mail address: put that one back."
    )


def _problem_of_active_key() -> str:
    try:
        active_provider().active_key_id  # noqa: B018 - asks for it
    except MissingKeyError as error:
        return str(error)
    return ""
