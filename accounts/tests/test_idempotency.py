import threading

import pytest

from accounts.models import RecordedAnswer
from accounts.tests.factories import make_user
from common.errors import (
    IdempotencyInFlightError,
    IdempotencyKeyReusedError,
    InvalidInputError,
)
from common.idempotency import Answer, answer_once, fingerprint_of
from common.tenancy import acting_as, current_actor
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MADE = Answer(201, {"id": "1", "words": ["é", None, 1.5]}, "/api/v1/things/1/")


class Action:
    """Counts how often it was carried out."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> Answer:
        self.runs += 1
        return MADE


def stored(user_id: object) -> int:
    with acting_as(user_id):  # type: ignore[arg-type]  # a UUID
        return RecordedAnswer.objects.count()


def test_a_repetition_is_answered_alike_without_being_carried_out() -> None:
    user, action = make_user(), Action()

    first = answer_once(user_id=user.pk, key="k", fingerprint="f", action=action)
    second = answer_once(user_id=user.pk, key="k", fingerprint="f", action=action)

    assert first == (MADE, False)
    assert second == (MADE, True)
    assert action.runs == 1
    assert stored(user.pk) == 1


def test_another_request_with_the_key_is_refused() -> None:
    user, action = make_user(), Action()
    answer_once(user_id=user.pk, key="k", fingerprint="f", action=action)

    with pytest.raises(IdempotencyKeyReusedError) as caught:
        answer_once(user_id=user.pk, key="k", fingerprint="other", action=action)

    assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")
    assert action.runs == 1
    assert stored(user.pk) == 1


def test_while_the_first_runs_the_others_are_told_to_wait() -> None:
    user = make_user()
    everyone_asked = threading.Barrier(4, timeout=30)
    runs = []

    def slow() -> Answer:
        runs.append(1)
        everyone_asked.wait()
        return MADE

    def ask() -> tuple[Answer, bool]:
        try:
            return answer_once(user_id=user.pk, key="k", fingerprint="f", action=slow)
        except IdempotencyInFlightError:
            everyone_asked.wait()
            raise

    outcomes = at_once([ask] * 4)

    assert outcomes.count((MADE, False)) == 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, IdempotencyInFlightError)]
    assert len(refused) == 3
    assert {error.status for error in refused} == {409}
    assert runs == [1]
    assert stored(user.pk) == 1


def test_a_failed_action_stores_nothing_and_may_be_tried_again() -> None:
    user, action = make_user(), Action()

    def fail() -> Answer:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        answer_once(user_id=user.pk, key="k", fingerprint="f", action=fail)

    assert stored(user.pk) == 0
    assert answer_once(user_id=user.pk, key="k", fingerprint="f", action=action) == (MADE, False)


def test_the_same_key_of_a_stranger_is_another() -> None:
    ada, bob, action = make_user(), make_user(), Action()

    for user in (ada, bob):
        answer = answer_once(user_id=user.pk, key="k", fingerprint=str(user.pk), action=action)
        assert answer == (MADE, False)

    assert action.runs == 2
    assert (stored(ada.pk), stored(bob.pk)) == (1, 1)


def test_strangers_with_the_same_key_do_not_wait_for_each_other() -> None:
    people = [make_user().pk for _ in range(3)]
    all_inside = threading.Barrier(3, timeout=30)

    def slow() -> Answer:
        all_inside.wait()
        return MADE

    outcomes = at_once(
        [
            lambda person=person: answer_once(  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                user_id=person, key="k", fingerprint="f", action=slow
            )
            for person in people
        ]
    )

    assert outcomes == [(MADE, False)] * 3


def test_without_a_key_every_request_is_carried_out() -> None:
    user, action = make_user(), Action()

    for _ in range(2):
        assert answer_once(user_id=user.pk, key="", fingerprint="f", action=action) == (MADE, False)

    assert action.runs == 2
    assert stored(user.pk) == 0


@pytest.mark.parametrize("key", ["k" * 256, "new\nline", "nul\x00", "bell\x07"])
def test_a_key_that_is_too_long_or_not_printable_is_refused(key: str) -> None:
    user, action = make_user(), Action()

    with pytest.raises(InvalidInputError) as caught:
        answer_once(user_id=user.pk, key=key, fingerprint="f", action=action)

    assert caught.value.detail == "An Idempotency-Key has at most 255 printable characters."
    assert action.runs == 0
    assert stored(user.pk) == 0


def test_the_longest_key_is_kept_whole() -> None:
    user, action = make_user(), Action()

    for _ in range(2):
        answer_once(user_id=user.pk, key="k" * 255, fingerprint="f", action=action)

    assert action.runs == 1


def test_the_action_runs_as_the_person_in_the_transaction_of_the_record() -> None:
    user = make_user()
    actors = []

    def note() -> Answer:
        actors.append(current_actor())
        return MADE

    answer_once(user_id=user.pk, key="k", fingerprint="f", action=note)

    assert actors == [user.pk]


def test_fingerprints_tell_the_parts_apart() -> None:
    assert fingerprint_of("a", "b") == fingerprint_of("a", "b")
    assert (
        len({fingerprint_of(*parts) for parts in [("ab",), ("a", "b"), ("", "ab"), ("b", "a")]})
        == 4
    )
