"""A code of an authenticator app opens one login, for as long as it would be accepted.

allauth remembers a used code for one step, and accepts it for as many as clocks may differ.
"""

from allauth.mfa import app_settings
from allauth.mfa.totp.internal.auth import TOTP
from django.core.cache import cache


def remember_used_codes() -> None:
    """From here on a code is remembered for its whole life."""
    TOTP._mark_code_used = _mark_code_used  # noqa: SLF001 - there is no other way in


def _mark_code_used(totp: TOTP, code: str) -> bool:
    seconds = app_settings.TOTP_PERIOD * (2 * app_settings.TOTP_TOLERANCE + 1)
    key = totp._get_used_cache_key(code)  # noqa: SLF001 - as allauth names it
    return bool(cache.add(key, "y", timeout=seconds))
