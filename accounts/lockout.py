"""Failed logins lock a login for one address, for a while that doubles.

Whoever guesses from elsewhere must not lock out the owner: a lock holds for one address and one
account. Guesses from many addresses lock the account for addresses that it was never logged in
from; the owner's own stay open, and a reset of the password opens the rest. The counts lie in
Redis, under digests of what was typed; those of the admin and of the other doors lie apart.
"""

import logging
from typing import Any

from django.conf import settings
from redis import RedisError

from accounts.errors import LockedOutError
from common.encryption.derivation import keyed_digest
from common.health import redis_client
from common.networks import network_of
from common.tenancy import OPERATOR_ALIAS, current_alias

logger = logging.getLogger(__name__)

FIRST_LOCK_SECONDS = 60
ACCOUNT_WINDOW_SECONDS = 3600
KNOWN_SECONDS = 90 * 24 * 3600

# In one step: of guesses that come at once no more are let through than of those that do not.
COUNT_ATTEMPT = """
    local failed, locked, everywhere, known, kept = unpack(KEYS)
    local limit, limit_everywhere = tonumber(ARGV[1]), tonumber(ARGV[2])
    local first, longest, window = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
    local wait = redis.call('ttl', locked)
    if tonumber(redis.call('get', everywhere) or 0) >= limit_everywhere
            and redis.call('exists', known) == 0 then
        wait = math.max(wait, redis.call('ttl', everywhere))
    end
    if wait > 0 then
        return {wait, 0}
    end
    local failures = redis.call('incr', failed)
    redis.call('expire', failed, longest)
    if redis.call('incr', everywhere) == 1 then
        redis.call('expire', everywhere, window)
    end
    redis.call('sadd', kept, failed, locked)
    redis.call('expire', kept, math.max(longest, window))
    if failures < limit then
        return {0, 0}
    end
    local seconds = math.min(first * 2 ^ math.min(failures - limit, 20), longest)
    redis.call('set', locked, 1, 'ex', string.format('%d', seconds))
    return {0, 1}
"""
FORGET_FAILURES = """
    local failed, locked, everywhere, known, kept = unpack(KEYS)
    redis.call('del', failed, locked)
    redis.call('srem', kept, failed, locked)
    if tonumber(redis.call('get', everywhere) or 0) > 0 then
        redis.call('decr', everywhere)
    end
    redis.call('set', known, 1, 'ex', ARGV[1])
"""


def count_attempt(login: str, address: str) -> bool:
    """Afterwards the attempt counts as a failure, until `note_success` takes it back.

    True if it locks the login for this address. Raises LockedOutError, and counts nothing, while
    the login is locked for the address.
    """
    account, origin = _digests(login, address)
    try:
        seconds, locks = _run(
            COUNT_ATTEMPT,
            account,
            origin,
            settings.LOCKOUT_FAILURES,
            settings.LOCKOUT_ACCOUNT_FAILURES,
            FIRST_LOCK_SECONDS,
            settings.LOCKOUT_SECONDS,
            ACCOUNT_WINDOW_SECONDS,
        )
    except RedisError:
        # Readiness says that Redis is away; nobody is kept out for that.
        logger.exception("failed logins cannot be counted")
        return False
    if seconds > 0:
        raise LockedOutError(
            f"There were too many failed logins: wait {seconds} seconds, or reset the password.",
            retry_after=seconds,
        )
    return bool(locks)


def note_success(login: str, address: str) -> None:
    """Afterwards the address is known for the account, and its failures are forgotten."""
    account, origin = _digests(login, address)
    try:
        _run(FORGET_FAILURES, account, origin, KNOWN_SECONDS)
    except RedisError:
        logger.exception("failed logins cannot be counted")


def open_account(login: str) -> None:
    """Afterwards no address is locked for the account: its owner has proved who they are."""
    account, _ = _digests(login, "")
    kept = _key("kept", account)
    try:
        client = redis_client()
        client.delete(_key("failed", account), kept, *client.smembers(kept))
    except RedisError:
        logger.exception("failed logins cannot be counted")


def _run(script: str, account: str, origin: str, *arguments: int) -> Any:
    keys = [
        _key("failed", account, origin),
        _key("locked", account, origin),
        _key("failed", account),
        _key("known", account, origin),
        _key("kept", account),
    ]
    return redis_client().register_script(script)(keys=keys, args=list(arguments))


def _digests(login: str, address: str) -> tuple[str, str]:
    """Of the account at this kind of door, and of the network."""
    realm = "operator" if current_alias() == OPERATOR_ALIAS else "person"
    kind = "address" if "@" in login else "name"
    account = f"{realm}:{kind}:{login.strip().lower()}"
    return _digest(account), _digest(network_of(address))


def _digest(text: str) -> str:
    return keyed_digest("lockout", text.encode()).hex()[:32]


def _key(*parts: str) -> str:
    return f"{settings.REDIS_PREFIX}lockout:{':'.join(parts)}"
