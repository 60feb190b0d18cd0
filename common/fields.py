"""Field classes that every app's models share; migrations may import them."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Func

from common.ids import uuid7

if TYPE_CHECKING:
    UuidColumn = models.UUIDField[Any, Any]
else:
    UuidColumn = models.UUIDField


class DatabaseUuid7(Func):
    """PostgreSQL's own `uuidv7()`, for rows that are inserted without Django."""

    function = "uuidv7"
    template = "%(function)s()"
    output_field = models.UUIDField()


class Uuid7Field(UuidColumn):
    """A primary key that sorts by time, known before the insert, and made by the database
    for rows that come in by SQL."""

    def __init__(self, **options: Any) -> None:
        options.update(primary_key=True, default=uuid7, db_default=DatabaseUuid7(), editable=False)
        super().__init__(**options)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        for fixed in ("primary_key", "default", "db_default", "editable"):
            options.pop(fixed, None)
        return name, path, args, options
