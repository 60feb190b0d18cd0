"""What commands share: how they fail, and how they say sizes and times."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import psycopg
from django.core.management.base import CommandError
from django.utils import timezone

from common.errors import DomainError

KIBI = 1024


@contextmanager
def said_plainly() -> Iterator[None]:
    """What goes wrong within the block ends the command with one sentence."""
    try:
        yield
    except DomainError as error:
        raise CommandError(error.detail) from error
    except psycopg.Error as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CommandError(f"The database refused: {first}") from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'A file'}: {error.strerror or error}") from error


def size_in_words(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < KIBI:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= KIBI
    return f"{size:.1f} TiB"


def age_in_words(moment: datetime) -> str:
    age = timezone.now() - moment
    if age < timedelta(hours=1):
        return f"{age // timedelta(minutes=1)} min"
    if age < timedelta(days=2):
        return f"{age // timedelta(hours=1)} h"
    return f"{age // timedelta(days=1)} days"
