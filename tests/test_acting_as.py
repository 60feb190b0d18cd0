"""`acting_as` through Django: whose rows are seen, and that nobody stays somebody else."""

from collections.abc import Callable, Generator, Iterator
from uuid import UUID

import pytest
from django.db import ProgrammingError, connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from accounts.models import RecordedAnswer, User
from accounts.tests.factories import make_user
from common.ids import uuid7
from common.tenancy import ActorConflictError, acting_as, as_operator, current_actor, current_alias
from common.tests.races import at_once
from tests.things import keep_key, keys_seen, setting
from tests.urls import keys_of

ALIASES = ["default", "operator", "owner"]


@pytest.fixture
def ada(db: None) -> User:
    return make_user("ada")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.mark.django_db
def test_each_person_sees_their_own_rows(ada: User, bob: User) -> None:
    keep_key(ada.pk, "of ada")
    keep_key(bob.pk, "of bob")

    with acting_as(ada.pk):
        assert keys_seen() == ["of ada"]
    with acting_as(bob.pk):
        assert keys_seen() == ["of bob"]
    assert keys_seen() == []


@pytest.mark.django_db(transaction=True)
def test_outside_of_the_block_nothing_is_written(ada: User) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        RecordedAnswer.objects.create(user_id=ada.pk, key="k", fingerprint="", status=200)

    with acting_as(ada.pk):
        assert keys_seen() == []


@pytest.mark.django_db(transaction=True)
def test_nobody_writes_for_somebody_else(ada: User, bob: User) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), acting_as(ada.pk):
        RecordedAnswer.objects.create(user_id=bob.pk, key="k", fingerprint="", status=200)

    for person in (ada, bob):
        with acting_as(person.pk):
            assert keys_seen() == []


@pytest.mark.django_db(transaction=True)
def test_after_the_outer_block_the_setting_is_empty(ada: User) -> None:
    with acting_as(ada.pk):
        inside = (setting(), current_actor())

    assert inside == (str(ada.pk), ada.pk)
    assert (setting(), current_actor()) == ("", None)


@pytest.mark.django_db(transaction=True)
def test_after_an_error_in_the_outer_block_the_setting_is_empty(ada: User) -> None:
    with pytest.raises(ValueError, match="no"), acting_as(ada.pk):
        raise ValueError("no")

    assert (setting(), current_actor()) == ("", None)


@pytest.mark.django_db
def test_a_block_inside_an_open_transaction_does_not_outlive_itself(ada: User) -> None:
    with transaction.atomic():
        with acting_as(ada.pk):
            keep_key(ada.pk, "k")
        assert setting() == ""
        assert keys_seen() == []


@pytest.mark.django_db
def test_the_same_person_may_be_nested(ada: User) -> None:
    with acting_as(ada.pk):
        with acting_as(ada.pk):
            inner = setting()
        outer = setting()

    assert inner == outer == str(ada.pk)


@pytest.mark.django_db
def test_another_person_inside_is_refused_and_changes_nothing(ada: User, bob: User) -> None:
    with acting_as(ada.pk):
        with pytest.raises(ActorConflictError), acting_as(bob.pk):
            pytest.fail("the block must not be entered")

        assert (setting(), current_actor()) == (str(ada.pk), ada.pk)
        assert not connection.needs_rollback


@pytest.mark.django_db
def test_another_person_said_aloud_is_entered_and_left(ada: User, bob: User) -> None:
    keep_key(ada.pk, "of ada")

    with acting_as(ada.pk):
        with acting_as(bob.pk, switch=True):
            keep_key(bob.pk, "of bob")
            assert (keys_seen(), current_actor()) == (["of bob"], bob.pk)
        assert (keys_seen(), current_actor()) == (["of ada"], ada.pk)


@pytest.mark.django_db
def test_an_error_inside_the_switched_block_restores_the_first_person(ada: User, bob: User) -> None:
    with acting_as(ada.pk):
        with pytest.raises(ValueError, match="no"), acting_as(bob.pk, switch=True):  # noqa: PT012 - the work before the error is what is undone
            keep_key(bob.pk, "lost")
            raise ValueError("no")
        assert (setting(), current_actor()) == (str(ada.pk), ada.pk)

    with acting_as(bob.pk):
        assert keys_seen() == []


@pytest.mark.django_db
def test_an_error_of_the_database_inside_restores_the_first_person(ada: User, bob: User) -> None:
    with acting_as(ada.pk):
        with pytest.raises(ProgrammingError), acting_as(bob.pk, switch=True):
            connection.cursor().execute("SELECT * FROM auth_group")
        assert (setting(), current_actor()) == (str(ada.pk), ada.pk)


@pytest.mark.django_db
def test_a_rollback_asked_for_inside_restores_the_first_person(ada: User, bob: User) -> None:
    with acting_as(ada.pk):
        with acting_as(bob.pk, switch=True):
            keep_key(bob.pk, "lost")
            transaction.set_rollback(True)
        assert (setting(), current_actor()) == (str(ada.pk), ada.pk)
        keep_key(ada.pk, "kept")

    with acting_as(bob.pk):
        assert keys_seen() == []
    with acting_as(ada.pk):
        assert keys_seen() == ["kept"]


@pytest.mark.django_db(transaction=True)
def test_a_rollback_asked_for_in_the_outer_block_leaves_nothing(ada: User) -> None:
    with acting_as(ada.pk):
        keep_key(ada.pk, "lost")
        transaction.set_rollback(True)

    assert setting() == ""
    with acting_as(ada.pk):
        assert keys_seen() == []


@pytest.mark.django_db
def test_savepoints_released_and_rolled_back_keep_the_person(ada: User) -> None:
    with acting_as(ada.pk):
        with transaction.atomic():
            keep_key(ada.pk, "kept")
        with pytest.raises(ValueError, match="no"), transaction.atomic():  # noqa: PT012 - the work before the error is what is undone
            keep_key(ada.pk, "lost")
            raise ValueError("no")

        assert setting() == str(ada.pk)
        assert keys_seen() == ["kept"]


@pytest.mark.django_db
def test_a_savepoint_around_a_block_does_not_carry_the_person_out(ada: User) -> None:
    with transaction.atomic():
        with transaction.atomic(), acting_as(ada.pk):
            pass
        assert setting() == ""
        with pytest.raises(ValueError, match="no"), transaction.atomic(), acting_as(ada.pk):
            raise ValueError("no")
        assert setting() == ""


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_the_operator_inside_a_persons_block_and_a_person_inside_the_operators(
    ada: User, bob: User
) -> None:
    keep_key(ada.pk, "of ada")
    keep_key(bob.pk, "of bob")

    with acting_as(ada.pk):
        with as_operator("look at everything"):
            assert keys_seen() == ["of ada", "of bob"]
            assert (current_actor(), current_alias()) == (None, "operator")
            with acting_as(ada.pk):
                assert keys_seen() == ["of ada"]
            assert keys_seen() == ["of ada", "of bob"]
        assert (current_actor(), current_alias()) == (ada.pk, "default")
        assert keys_seen() == ["of ada"]


@pytest.mark.django_db(transaction=True)
def test_an_unknown_person_sees_nothing_and_can_keep_nothing() -> None:
    nobody = uuid7()

    with acting_as(nobody):
        assert keys_seen() == []
    with pytest.raises(Exception, match="foreign key"):
        keep_key(nobody, "k")


@pytest.mark.django_db(transaction=True)
def test_sixteen_threads_with_a_person_each_never_meet() -> None:
    people = [make_user().pk for _ in range(16)]

    def live_of(person: UUID) -> Callable[[], list[list[str]]]:
        def live() -> list[list[str]]:
            seen = []
            for number in range(10):
                keep_key(person, f"{person} {number}")
                with acting_as(person):
                    seen.append(keys_seen())
                assert keys_seen() == []
            return seen

        return live

    outcomes = at_once([live_of(person) for person in people])

    for person, seen in zip(people, outcomes, strict=True):
        assert seen == [[f"{person} {n}" for n in range(last + 1)] for last in range(10)]


@pytest.mark.django_db(transaction=True)
def test_a_stream_reads_as_its_own_person_whoever_else_is_read_in_between(
    ada: User, bob: User
) -> None:
    for number in range(3):
        keep_key(ada.pk, f"ada {number}")
        keep_key(bob.pk, f"bob {number}")

    read = []
    for mine, theirs in zip(keys_of(ada.pk), keys_of(bob.pk), strict=True):
        read += [mine, theirs, setting()]

    assert read == [
        text for number in range(3) for text in (f"ada {number}\n", f"bob {number}\n", "")
    ]


@pytest.mark.django_db(transaction=True)
def test_a_generator_that_yields_inside_the_block_is_found_out_by_the_next_person(
    ada: User, bob: User
) -> None:
    def wrong() -> Generator[None, None, None]:
        with acting_as(ada.pk):
            yield

    stream = wrong()
    next(stream)

    with pytest.raises(ActorConflictError), acting_as(bob.pk):
        pytest.fail("the block must not be entered")
    stream.close()

    assert (setting(), current_actor()) == ("", None)
    assert not connection.in_atomic_block


@pytest.fixture
def pooled(transactional_db: None) -> Iterator[DatabaseWrapper]:
    """Instead of Django's connection of `default` one from a pool that has a single session."""
    plain = connections["default"]
    plain.close()
    options = {**plain.settings_dict["OPTIONS"], "pool": {"min_size": 1, "max_size": 1}}
    wrapper = DatabaseWrapper({**plain.settings_dict, "OPTIONS": options}, alias="default")
    connections["default"] = wrapper
    yield wrapper
    wrapper.close()
    wrapper.close_pool()
    connections["default"] = plain


def session() -> int:
    """The process of the server that this connection talks to."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_the_next_borrower_of_a_pooled_session_is_nobody(pooled: DatabaseWrapper) -> None:
    ada = make_user("ada")
    with acting_as(ada.pk):
        keep_key(ada.pk, "k")
        first = session()
    pooled.close()

    assert session() == first
    assert setting() == ""
    assert keys_seen() == []


@pytest.mark.django_db(transaction=True)
def test_the_next_borrower_is_nobody_after_an_error_too(pooled: DatabaseWrapper) -> None:
    ada = make_user("ada")
    with pytest.raises(ValueError, match="no"), acting_as(ada.pk):  # noqa: PT012 - the work before the error is what is undone
        first = session()
        raise ValueError("no")
    pooled.close()

    assert session() == first
    assert setting() == ""


@pytest.mark.django_db(transaction=True)
def test_a_setting_of_the_session_would_reach_the_next_borrower(pooled: DatabaseWrapper) -> None:
    """The reason for transaction-local settings, and the proof that these tests can see it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.user_id', 'leaked', false)")
    pooled.close()

    assert setting() == "leaked"
    with connection.cursor() as cursor:
        cursor.execute("RESET app.user_id")


@pytest.mark.django_db(transaction=True)
def test_eight_threads_on_two_pooled_sessions_never_meet(pooled: DatabaseWrapper) -> None:
    people = [make_user().pk for _ in range(8)]
    pooled.close()
    pooled.close_pool()
    pooled.settings_dict["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2, "timeout": 30}

    def live_of(person: UUID) -> Callable[[], list[str]]:
        def live() -> list[str]:
            connections["default"] = DatabaseWrapper(pooled.settings_dict, alias="default")
            for number in range(5):
                keep_key(person, f"{person} {number}")
                connection.close()
                assert (setting(), keys_seen()) == ("", [])
                connection.close()
            with acting_as(person):
                return keys_seen()

        return live

    outcomes = at_once([live_of(person) for person in people])

    assert outcomes == [[f"{person} {n}" for n in range(5)] for person in people]
