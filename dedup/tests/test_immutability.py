"""What was imported is never changed: the database refuses it to everybody."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from accounts.tests.factories import make_user
from common.tests.connections import Connection, connect_as, connect_as_superuser, raw_app
from dedup.services import import_path
from dedup.tests.factories import Row, counts_of_tables, dialogue, prompt, transcript

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

COLUMNS = {
    "dedup_message": "api_id",
    "dedup_revision": "text",
    "dedup_record": "raw",
    "dedup_observation": "unreadable",
    "dedup_deduplicationlog": "new_messages",
}
STATEMENTS = {
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
}


@pytest.fixture(autouse=True)
def _an_archive(tmp_path: Path) -> None:
    rows: list[Row | bytes] = [*dialogue(3), prompt("m0", "Words 0", n=1), b"{torn\n"]
    import_path(user_id=make_user("owner-of-rows").pk, path=transcript(tmp_path, rows))


def attempt(connection: Connection, verb: str, table: str) -> None:
    connection.execute(
        sql.SQL(STATEMENTS[verb]).format(
            table=sql.Identifier(table), column=sql.Identifier(COLUMNS[table])
        )
    )


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize("verb", STATEMENTS)
def test_the_application_has_not_the_privilege(table: str, verb: str) -> None:
    before = counts_of_tables()

    with raw_app() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt(connection, verb, table)

    assert counts_of_tables() == before


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize("verb", STATEMENTS)
@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_those_who_have_the_privilege_are_refused(table: str, verb: str, role: str) -> None:
    before = counts_of_tables()
    assert before[table] > 0

    with (
        connect_as("owner") if role == "owner" else connect_as_superuser() as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match="is refused"),
    ):
        attempt(connection, verb, table)

    assert counts_of_tables() == before
