import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

OF_SERVICE_ACCOUNT = {"client_email", "private_key", "token_uri"}


def check_stores(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """A store that is named has everything that its receipts and messages are verified with."""
    found = [*(_apple() if settings.APPLE_BUNDLE_ID else ())]
    found += [*(_google() if settings.GOOGLE_PACKAGE_NAME else ())]
    return [Error(sentence, id=identifier) for identifier, sentence in found]


def _apple() -> Iterator[tuple[str, str]]:
    roots = settings.APPLE_ROOT_CERTIFICATES
    if not roots or not all(Path(path).is_file() for path in roots):
        yield "accounts.E003", "APPLE_ROOT_CERTIFICATES must name files of Apple's certificates."
    if settings.APPLE_ENVIRONMENT == "production" and not settings.APPLE_APP_ID:
        yield "accounts.E004", "Set APPLE_APP_ID, which Apple's messages name in production."


def _google() -> Iterator[tuple[str, str]]:
    try:
        complete = set(json.loads(settings.GOOGLE_SERVICE_ACCOUNT)) >= OF_SERVICE_ACCOUNT
    except (ValueError, TypeError):
        complete = False
    if not complete:
        # The value is a secret: it is not repeated.
        yield "accounts.E005", "GOOGLE_SERVICE_ACCOUNT must be the JSON of a service account."
    if not settings.GOOGLE_PUSH_ACCOUNT:
        yield "accounts.E006", "Set GOOGLE_PUSH_ACCOUNT, with which Google's messages are signed."
