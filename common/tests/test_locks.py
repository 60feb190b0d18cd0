import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from common.locks import lock, try_lock, try_lock_each
from common.tenancy import as_operator
from common.tests.connections import connect_as
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])


def is_free(name: str) -> bool:
    with connect_as("default") as other, other.transaction():
        row = other.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [name]
        ).fetchone()
    assert row is not None
    return bool(row[0])


def test_a_lock_is_held_until_the_transaction_ends() -> None:
    with transaction.atomic():
        lock("import:1", "import:2")
        held = [is_free("import:1"), is_free("import:2"), is_free("import:3")]

    assert held == [False, False, True]
    assert is_free("import:1")


def test_a_rollback_frees_it_too() -> None:
    with pytest.raises(ValueError, match="no"), transaction.atomic():  # noqa: PT012 - the work before the error is what is undone
        lock("import:1")
        raise ValueError("no")

    assert is_free("import:1")


def test_only_one_of_many_gets_it() -> None:
    barrier = threading.Barrier(6, timeout=30)

    def attempt() -> bool:
        with transaction.atomic():
            got = try_lock("import:1")
            barrier.wait()
        return got

    assert sorted(map(bool, at_once([attempt] * 6))) == [False] * 5 + [True]


def test_of_several_those_that_are_free_are_taken_and_the_others_not_waited_for() -> None:
    with connect_as("default") as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('import:2', 0))")
        with transaction.atomic():
            got = try_lock_each(["import:3", "import:2", "import:1", "import:3"])
            held = [is_free("import:1"), is_free("import:3"), is_free("import:4")]
            assert try_lock_each([]) == []

    assert got == ["import:1", "import:3"]
    assert held == [False, False, True]
    assert is_free("import:1")


def test_the_operator_and_a_person_share_the_names() -> None:
    with as_operator("test"):
        lock("import:1")
        free = is_free("import:1")

    assert free is False


def test_overlapping_sets_in_any_order_do_not_block_each_other_for_ever() -> None:
    def take(names: list[str]) -> Callable[[], None]:
        def action() -> None:
            for _ in range(20):
                with transaction.atomic():
                    with connection.cursor() as cursor:
                        cursor.execute("SET LOCAL lock_timeout = '20s'")
                    lock(*names)

        return action

    outcomes = at_once([take(["a", "b", "c"]), take(["c", "a", "b"]), take(["b", "c", "a", "a"])])

    assert outcomes == [None, None, None]
