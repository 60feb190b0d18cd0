"""Settings that frontends keep for a person, by name."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone
from psycopg.errors import CheckViolation

from accounts.errors import TooManyPreferencesError
from accounts.models import Preference
from accounts.models.preferences import KEY_PATTERN, LARGEST_VALUE_BYTES
from common.errors import FieldError, InvalidInputError, NotFoundError
from common.json_values import fault_of
from common.locks import lock
from common.tenancy import acting_as

MOST_PREFERENCES = 200
LONGEST_KEY = 100
DEEPEST_VALUE = 32


def set_preference(*, user_id: UUID, key: str, value: Any) -> Preference:
    """Afterwards the setting holds the value, whether there was such a setting or not.

    Raises InvalidInputError for a name or a value that cannot be kept, TooManyPreferencesError.
    """
    if value is None:
        raise _invalid("value", "null", "No value is none at all: forget the preference instead.")
    with acting_as(user_id):
        change_preferences(user_id=user_id, changes={key: value})
        return Preference.objects.visible_to(user_id).get(key=key)


def change_preferences(*, user_id: UUID, changes: Mapping[str, Any]) -> None:
    """Afterwards all changes hold: None has forgotten a setting, another value stands in its place.

    This is a merge patch (RFC 7396) of the settings by name; a value is replaced whole.
    Raises InvalidInputError for a name or a value that cannot be kept, TooManyPreferencesError;
    then nothing has changed.
    """
    for key, value in changes.items():
        _check(key, value)
    kept = {key: value for key, value in changes.items() if value is not None}
    if len(kept) > MOST_PREFERENCES:
        raise _too_many()
    try:
        with acting_as(user_id):
            # Whoever counts must not be counted past.
            lock(f"preferences:{user_id}")
            Preference.objects.visible_to(user_id).filter(key__in=changes.keys() - kept).delete()
            _upsert(user_id, kept)
            if Preference.objects.visible_to(user_id).count() > MOST_PREFERENCES:
                raise _too_many()
    except IntegrityError as error:
        # Only the database knows the size of what it keeps.
        if isinstance(error.__cause__, CheckViolation):
            sentence = f"A value has at most {LARGEST_VALUE_BYTES} bytes as JSON."
            raise _invalid("value", "too_large", sentence) from error
        raise


def forget_preference(*, user_id: UUID, key: str) -> None:
    """Afterwards there is no such setting. Raises NotFoundError if there was none."""
    with acting_as(user_id):
        deleted, _ = Preference.objects.visible_to(user_id).called(key).delete()
    if not deleted:
        raise NotFoundError("There is no such preference.")


def _upsert(user_id: UUID, values: Mapping[str, Any]) -> None:
    moment = timezone.now()
    Preference.objects.bulk_create(
        [
            Preference(user_id=user_id, key=key, value=value, updated_at=moment)
            for key, value in values.items()
        ],
        update_conflicts=True,
        unique_fields=["user", "key"],
        update_fields=["value", "updated_at"],
    )


def _check(key: str, value: Any) -> None:
    if len(key) > LONGEST_KEY or not re.fullmatch(KEY_PATTERN, key):
        raise _invalid(
            "key",
            "invalid",
            f"A name has at most {LONGEST_KEY} characters: a-z, 0-9, _ and ., a letter first.",
        )
    if fault := fault_of(value, deepest=DEEPEST_VALUE):
        raise _invalid("value", "invalid", fault)


def _invalid(field: str, code: str, sentence: str) -> InvalidInputError:
    return InvalidInputError(sentence, errors=[FieldError(field, code, sentence)])


def _too_many() -> TooManyPreferencesError:
    return TooManyPreferencesError(
        f"Forget some first: a person has at most {MOST_PREFERENCES} preferences."
    )
