"""A door through which people come in: nobody's transaction until somebody is known."""

import pytest
from django.db import transaction

from accounts.models import RecordedAnswer, User
from accounts.tests.factories import make_user
from common.tenancy import (
    acting_as,
    as_operator,
    become,
    current_actor,
    identifying,
    is_identifying,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def answers() -> list[str]:
    return list(RecordedAnswer.objects.order_by("key").values_list("key", flat=True))


@pytest.fixture
def ada() -> User:
    return _with_answer("ada")


@pytest.fixture
def bob() -> User:
    return _with_answer("bob")


def _with_answer(name: str) -> User:
    user = make_user(name)
    with acting_as(user.pk):
        RecordedAnswer.objects.create(user=user, key=name, fingerprint="", status=200)
    return user


def test_nobody_sees_nothing_until_it_is_said_who_it_is(ada: User, bob: User) -> None:
    with identifying():
        assert answers() == []
        become(ada.pk)
        assert answers() == ["ada"]
        assert current_actor() == ada.pk

    assert current_actor() is None
    assert answers() == []


def test_whoever_was_acting_before_is_nobody_inside_and_back_afterwards(
    ada: User, bob: User
) -> None:
    with acting_as(ada.pk):
        with identifying():
            assert answers() == []
            become(bob.pk)
            assert answers() == ["bob"]
        assert answers() == ["ada"]
        assert current_actor() == ada.pk


def test_a_failure_undoes_everything(ada: User) -> None:
    def fail_later() -> None:
        with identifying():
            become(ada.pk)
            RecordedAnswer.objects.create(user=ada, key="more", fingerprint="", status=200)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_later()

    with acting_as(ada.pk):
        assert answers() == ["ada"]


def test_nobody_becomes_anybody_elsewhere(ada: User) -> None:
    with pytest.raises(RuntimeError):
        become(ada.pk)
    with acting_as(ada.pk), pytest.raises(RuntimeError):
        become(ada.pk)
    with identifying(), as_operator("test"):
        assert not is_identifying()
        with pytest.raises(RuntimeError):
            become(ada.pk)


def test_after_a_savepoint_that_was_undone_nobody_is_let_in_by_mistake(
    ada: User, bob: User
) -> None:
    with identifying():
        savepoint = transaction.savepoint()
        become(ada.pk)
        assert answers() == ["ada"]
        transaction.savepoint_rollback(savepoint)
        assert answers() == []
