"""The operator's door: what the admin's middleware runs as, and that a failure leaves nothing."""

import pytest
from django.db import ProgrammingError, connections
from django.test import Client

from accounts.models import RecordedAnswer, User
from accounts.services.users import find_user, first_operator
from accounts.tests.factories import PASSWORD, make_operator, make_user
from common.tenancy import as_operator, current_alias
from tests.things import keep_key, keys_seen

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"]),
    pytest.mark.urls("tests.urls"),
]


def test_the_operator_sees_everybody() -> None:
    for name in ("ada", "bob"):
        keep_key(make_user(name).pk, f"of {name}")

    with as_operator("look"):
        assert keys_seen() == ["of ada", "of bob"]
    assert keys_seen() == []


def test_the_operator_writes_only_what_is_granted() -> None:
    ada = make_user("ada")

    with pytest.raises(ProgrammingError, match="permission denied"), as_operator("forge"):
        RecordedAnswer.objects.create(user_id=ada.pk, key="k", fingerprint="", status=200)

    with as_operator("look"):
        assert keys_seen() == []
        assert User.objects.filter(pk=ada.pk).update(account_status="suspended") == 1


def test_the_reason_stands_in_the_transaction_and_not_after_it() -> None:
    query = "SELECT coalesce(current_setting('app.operator_reason', true), '')"

    with as_operator("look for ada"), connections["operator"].cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchone() == ("look for ada",)
    with connections["operator"].cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchone() == ("",)


@pytest.mark.parametrize(
    ("reason", "kept"), [("a\0b", "ab"), ("\0", ""), ("a\ud800b", "a?b"), ("é", "é")]
)
def test_a_reason_loses_what_the_database_cannot_hold(reason: str, kept: str) -> None:
    with as_operator(reason), connections["operator"].cursor() as cursor:
        cursor.execute("SELECT current_setting('app.operator_reason')")
        assert cursor.fetchone() == (kept,)


def test_an_error_gives_the_alias_back_and_rolls_back() -> None:
    keep_key(make_user("ada").pk, "k")

    with pytest.raises(ValueError, match="no"), as_operator("delete"):  # noqa: PT012 - the work before the error is what is undone
        RecordedAnswer.objects.all().delete()
        raise ValueError("no")

    assert current_alias() == "default"
    with as_operator("look"):
        assert keys_seen() == ["k"]


def test_under_the_admin_models_are_read_as_the_operator() -> None:
    answer = Client().get("/admin/test/role")

    assert answer.content == b"operator admin"


def test_elsewhere_they_are_read_as_app() -> None:
    assert Client().get("/role").content == b"app"
    assert Client().get("/role/../admin/test/role").status_code == 404
    assert Client().get("/admin/test/default-role").content == b"app"
    assert current_alias() == "default"


@pytest.mark.parametrize("how", ["status=500", "status=503", "how=raise"])
def test_an_admin_page_that_fails_leaves_nothing_half_written(how: str) -> None:
    keep_key(make_user("ada").pk, "k")

    answer = Client(raise_request_exception=False).get(f"/admin/test/half-written?{how}")

    assert answer.status_code >= 500
    with as_operator("look"):
        assert keys_seen() == ["k"]


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_admin_page_that_answers_is_committed(status: int) -> None:
    keep_key(make_user("ada").pk, "k")

    Client().get(f"/admin/test/half-written?status={status}")

    with as_operator("look"):
        assert keys_seen() == []


def test_an_operator_logs_in_and_a_plain_or_suspended_one_does_not() -> None:
    make_operator("grace")
    make_user("ada")
    suspended = make_operator("hal")
    with as_operator("suspend"):
        User.objects.filter(pk=suspended.pk).update(account_status="suspended")

    statuses = {
        name: Client()
        .post("/admin/login/?next=/admin/", {"username": name, "password": PASSWORD})
        .status_code
        for name in ("grace", "ada", "hal")
    }

    assert statuses == {"grace": 302, "ada": 200, "hal": 200}


def test_users_are_found_by_name_in_any_case_and_the_first_operator_by_age() -> None:
    ada = make_user("Ada")
    grace = make_operator("grace")
    make_operator("hal")

    assert find_user("aDA").pk == ada.pk
    first = first_operator()
    assert first is not None
    assert first.pk == grace.pk
