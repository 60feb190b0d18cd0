"""A table with sealed columns that only tests have."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import models
from django.test.utils import isolate_apps
from psycopg import sql

from common.encryption.fields import LookUpEmailField, SealedTextField
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field
from common.tests.connections import connect_as_superuser

TABLE = "sealed_note"

with isolate_apps("accounts"):

    class Note(models.Model):
        """Something that somebody wrote."""

        id = Uuid7Field()
        user_id = models.UUIDField()
        title = SealedTextField(purpose=Purpose.PROFILE, null=True)
        body = SealedTextField(purpose=Purpose.PROFILE, null=True)
        agent = SealedTextField(purpose=Purpose.DEVICES, null=True)
        email: Any = LookUpEmailField(null=True, blank=True, unique=True)  # type: ignore[misc]  # others are not nullable
        stars = models.IntegerField(default=0)

        objects: Any = models.Manager()

        class Meta:
            app_label = "accounts"
            db_table = TABLE

        def __str__(self) -> str:
            return "note"


@contextmanager
def table_of_notes(name: str = TABLE) -> Iterator[None]:
    """Within the block there is such a table, which app may use."""
    table = sql.Identifier(name)
    with connect_as_superuser() as connection:
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} (id uuid PRIMARY KEY, user_id uuid NOT NULL, title bytea,"
                " body bytea, agent bytea, email varchar(512) UNIQUE, stars integer NOT NULL)"
            ).format(table)
        )
        connection.execute(
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO app, operator").format(table)
        )
    try:
        yield
    finally:
        with connect_as_superuser() as connection:
            connection.execute(sql.SQL("DROP TABLE {}").format(table))


@contextmanager
def registered() -> Iterator[None]:
    """Within the block pickles find the model by its name."""
    apps.register_model("accounts", Note)
    try:
        yield
    finally:
        del apps.all_models["accounts"]["note"]
        apps.clear_cache()
