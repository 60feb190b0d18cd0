"""When a key was made: those of UUID version 7 begin with the time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

VERSION = 7
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def first_key(moment: datetime) -> UUID:
    """The smallest key of that millisecond; rows that came later have greater ones.

    A condition on the key leaves out whole partitions, where one on the time would read them.
    """
    return UUID(int=max((moment - EPOCH) // MILLISECOND, 0) << 80)


def made_at(key: UUID) -> datetime | None:
    """When the key was made, to the millisecond; None if it does not say."""
    return EPOCH + (key.int >> 80) * MILLISECOND if key.version == VERSION else None
