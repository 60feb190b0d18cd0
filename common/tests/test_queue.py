import socket
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from celery import Celery, shared_task
from celery.exceptions import Reject
from django.db import connection, connections, transaction

from common import context, tenancy
from common.queue import (
    ACTOR_HEADER,
    REQUEST_HEADER,
    BaseTask,
    MissingActorError,
    SweepTask,
    TenantTask,
    enqueue,
)
from common.tenancy import acting_as, as_operator
from common.tests.broker import empty_queue, queued_messages

ALIASES = ["default", "operator", "owner"]
PERSON = UUID("019a0000-0000-7000-8000-000000000001")
STRANGER = UUID("019a0000-0000-7000-8000-000000000002")

seen: list[object] = []


@shared_task(base=TenantTask, bind=True)
def note_actor(self: TenantTask, row_id: str) -> None:
    seen.append((row_id, self.actor, context.person_id.get(), context.request_id.get()))


@shared_task(base=SweepTask)
def note_role() -> None:
    with connections[tenancy.current_alias()].cursor() as cursor:
        cursor.execute("SELECT current_user, current_setting('app.operator_reason')")
        seen.append(cursor.fetchone())


@shared_task(base=SweepTask)
def fail_after_noting() -> None:
    note_role.run()
    raise ValueError("after the fact")


@shared_task(base=BaseTask)
def note_request() -> None:
    seen.append((context.request_id.get(), tenancy.current_actor()))


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    seen.clear()
    empty_queue()
    yield
    empty_queue()


@pytest.mark.django_db(transaction=True)
def test_a_message_is_sent_once_the_transaction_has_committed() -> None:
    with context.request_context("019a0000-0000-7000-8000-00000000beef"), acting_as(PERSON):
        enqueue(note_actor, "row-1")
        before = queued_messages()

    assert before == []
    (message,) = queued_messages()
    assert message["task"] == "common.tests.test_queue.note_actor"
    assert message["argsrepr"] == "('row-1',)"
    assert message[ACTOR_HEADER] == str(PERSON)
    assert message[REQUEST_HEADER] == "019a0000-0000-7000-8000-00000000beef"


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_after_a_rollback() -> None:
    with pytest.raises(ValueError, match="no"), acting_as(PERSON):  # noqa: PT012 - the work before the error is what is undone
        enqueue(note_actor, "row-1")
        raise ValueError("no")
    with acting_as(PERSON):
        enqueue(note_actor, "row-1")
        transaction.set_rollback(True)

    assert queued_messages() == []


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_savepoint_takes_its_messages_along() -> None:
    with acting_as(PERSON):
        enqueue(note_actor, "kept")
        with pytest.raises(ValueError, match="no"), acting_as(PERSON):  # noqa: PT012 - the work before the error is what is undone
            enqueue(note_actor, "dropped")
            raise ValueError("no")

    assert [message["argsrepr"] for message in queued_messages()] == ["('kept',)"]


@pytest.mark.django_db(transaction=True)
def test_a_named_person_goes_before_the_acting_one() -> None:
    with acting_as(PERSON):
        enqueue(note_actor, "row-1", actor=STRANGER)

    assert queued_messages()[0][ACTOR_HEADER] == str(STRANGER)


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_the_operator_sends_after_the_operators_own_commit_and_names_nobody() -> None:
    with as_operator("test"):
        enqueue(note_role)
        with transaction.atomic():
            pass
        before = queued_messages()

    assert before == []
    (message,) = queued_messages()
    assert ACTOR_HEADER not in message


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_an_operator_in_the_middle_of_a_persons_work_sends_for_nobody() -> None:
    with acting_as(PERSON), as_operator("test"):
        enqueue(note_role)

    assert ACTOR_HEADER not in queued_messages()[0]


def test_a_tenant_task_runs_for_the_person_in_its_headers() -> None:
    headers = {ACTOR_HEADER: str(PERSON), REQUEST_HEADER: "019a0000-0000-7000-8000-00000000beef"}

    note_actor.apply(args=("row-1",), headers=headers).get()

    assert seen == [("row-1", PERSON, PERSON, "019a0000-0000-7000-8000-00000000beef")]
    assert context.person_id.get() is None
    assert context.request_id.get() == ""


def test_a_tenant_task_without_a_person_is_refused_and_not_tried_again() -> None:
    with pytest.raises(MissingActorError) as caught:
        note_actor("row-1")

    assert isinstance(caught.value, Reject)
    assert caught.value.args == (
        f"{note_actor.name} needs a person and was queued without one",
        False,
    )
    assert seen == []


def test_a_tenant_task_for_a_malformed_person_does_not_run() -> None:
    result = note_actor.apply(args=("row-1",), headers={ACTOR_HEADER: "somebody"})

    assert isinstance(result.result, ValueError)
    assert seen == []


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_a_sweep_runs_as_the_operator_with_its_name_as_the_reason() -> None:
    note_role.apply().get()

    assert seen == [("operator", "sweep: common.tests.test_queue.note_role")]
    assert tenancy.current_alias() == "default"


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_a_failing_sweep_leaves_the_next_task_as_app() -> None:
    result = fail_after_noting.apply()

    assert isinstance(result.result, ValueError)
    assert tenancy.current_alias() == "default"
    assert not connections["operator"].in_atomic_block


def test_a_task_without_a_request_makes_an_id_of_its_own() -> None:
    note_request.apply().get()
    note_request.apply().get()

    assert len(set(seen)) == 2
    assert ("", None) not in seen


def app_of_broker(url: str) -> Celery:
    """Our Celery with another broker."""
    app = Celery("elsewhere", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(broker_url=url)
    return app


@pytest.mark.django_db(transaction=True)
def test_while_the_broker_is_away_the_rows_are_committed_and_the_caller_sees_no_error() -> None:
    away = app_of_broker("redis://127.0.0.1:1/0").task(base=TenantTask)(str)
    started = time.monotonic()

    with acting_as(PERSON), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_user (username, password, role, account_status, metadata)"
            " VALUES ('kept', '', 'user', 'active', '{}')"
        )
        enqueue(away, "row-1")

    assert time.monotonic() - started < 10
    with connection.cursor() as cursor:
        cursor.execute("SELECT username FROM accounts_user")
        assert cursor.fetchall() == [("kept",)]


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_does_not_answer_holds_nobody_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        app = app_of_broker(f"redis://127.0.0.1:{port}/0")
        # As short as a test can bear; the settings set the same limits, only longer.
        limits = app.conf.broker_transport_options
        assert limits["socket_timeout"] <= 30
        assert limits["socket_connect_timeout"] <= 30
        app.conf.broker_transport_options = {
            **limits,
            "socket_timeout": 0.2,
            "socket_connect_timeout": 0.2,
        }
        silent_task = app.task(base=TenantTask)(str)
        started = time.monotonic()

        with acting_as(PERSON):
            enqueue(silent_task, "row-1")

    assert time.monotonic() - started < 10
