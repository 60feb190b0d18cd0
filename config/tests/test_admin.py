"""The operator's house: lists, forms, filters and actions over rows that were really imported."""

from html import unescape
from pathlib import Path

import pytest
from django.contrib import admin
from django.db import connections
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.choices import Role
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token
from accounts.services.subscriptions import start_free_subscription
from accounts.tests.consents import agree_to_everything
from accounts.tests.devices import keep_biometric_key
from accounts.tests.factories import (
    PASSWORD,
    keep_session,
    make_operator,
    make_user,
    operator_browser,
)
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup.choices import ImportStatus
from dedup.models import DeduplicationLog, Import
from dedup.services import import_path

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

SAMPLES = Path(__file__).parents[2] / "dedup" / "samples"

# The stream has lists of another kind, and tests of its own.
SHOWN = {
    model._meta.label_lower: model
    for model in admin.site._registry
    if model._meta.app_label != "audit"
}


@pytest.fixture
def ada() -> User:
    """A person with an archive, a token, consents and a subscription."""
    ada = make_user("ada")
    agree_to_everything(ada)
    start_free_subscription(user_id=ada.pk)
    path = next(SAMPLES.rglob("*-*-*-*-*.jsonl"))
    import_path(user_id=ada.pk, path=path)
    issue_token(user=ada, name="Ada's laptop")
    keep_biometric_key(ada)
    keep_session(ada)
    return ada


@pytest.fixture
def operator_client() -> Client:
    """A browser in which an operator has logged in, through the form."""
    return operator_browser("grace")


def rows(table: str) -> list[tuple[object, ...]]:
    with connect_as_superuser() as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()


def one_of(model: type[Model]) -> Model:
    found = model._base_manager.using("operator").first()
    assert found is not None
    return found


@pytest.mark.parametrize("label", sorted(SHOWN))
def test_an_operator_sees_the_list_and_a_form(
    label: str, ada: User, operator_client: Client
) -> None:
    model = SHOWN[label]
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    row = one_of(model)

    listed = operator_client.get(reverse(f"{name}_changelist"), {"q": "ada"})
    form = operator_client.get(reverse(f"{name}_change", args=[row.pk]))

    assert listed.status_code == 200
    assert "ada" in listed.content.decode()
    assert str(row.pk) in listed.content.decode()
    assert form.status_code == 200


@pytest.mark.parametrize("label", sorted(SHOWN))
def test_every_choice_of_every_filter_of_a_list_works(
    label: str, ada: User, operator_client: Client
) -> None:
    model = SHOWN[label]
    changelist = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    filters = operator_client.get(changelist).context["cl"]
    links = [
        choice["query_string"]
        for spec in filters.filter_specs
        for choice in spec.choices(filters)
        if "query_string" in choice
    ]

    answers = {link: operator_client.get(f"{changelist}{link}").status_code for link in links}

    assert set(answers.values()) <= {200}, answers
    assert bool(links) == bool(admin.site._registry[model].list_filter)


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        ("owner", {"import", "conversation", "message"}),
        ("conversation", {"message"}),
        ("merged", {"conversation"}),
        ("secrets", {"conversation"}),
    ],
)
def test_a_filter_with_a_value_of_its_own_that_is_none_shows_a_list(
    name: str, lists: set[str], ada: User, operator_client: Client
) -> None:
    answers = {
        label: operator_client.get(reverse(f"admin:dedup_{label}_changelist"), {name: "other"})
        for label in ("import", "conversation", "message")
    }

    assert {label: answer.status_code for label, answer in answers.items()} == {
        label: 200 if label in lists else 400 for label in answers
    }


def test_a_form_shows_the_related_rows(ada: User, operator_client: Client) -> None:
    message = one_of(SHOWN["dedup.message"])

    page = operator_client.get(reverse("admin:dedup_message_change", args=[message.pk]))

    with acting_as(ada.pk):
        revision = message.revisions.using("default").get()  # type: ignore[attr-defined]
    assert revision.text.splitlines()[0][:30] in unescape(page.content.decode())


def test_archives_can_be_neither_changed_nor_deleted(ada: User, operator_client: Client) -> None:
    for label in (label for label in SHOWN if label.startswith("dedup.")):
        model = SHOWN[label]
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        before = rows(model._meta.db_table)
        pk = one_of(model).pk

        refusals = [
            operator_client.post(reverse(f"{name}_add"), {}),
            operator_client.post(reverse(f"{name}_change", args=[pk]), {"name": "other"}),
            operator_client.post(reverse(f"{name}_delete", args=[pk]), {"post": "yes"}),
        ]

        assert [refusal.status_code for refusal in refusals] == [403, 403, 403], label
        assert rows(model._meta.db_table) == before


def test_a_token_is_revoked_by_an_action(ada: User, operator_client: Client) -> None:
    token = PersonalAccessToken.objects.get(user=ada)

    operator_client.post(
        reverse("admin:accounts_personalaccesstoken_changelist"),
        {"action": "revoke", "_selected_action": [str(token.pk)]},
    )

    token.refresh_from_db()
    assert token.revoked_at is not None


def test_a_failed_import_is_read_again_by_an_action(ada: User, operator_client: Client) -> None:
    with acting_as(ada.pk):
        Import.objects.update(status=ImportStatus.QUEUED)
        Import.objects.all().fail("missing_artifact", "gone")
        row = Import.objects.get()

    operator_client.post(
        reverse("admin:dedup_import_changelist"),
        {"action": "read_again", "_selected_action": [str(row.pk)]},
    )

    with acting_as(ada.pk):
        row.refresh_from_db()
    assert (row.status, row.error_code, row.attempts) == (ImportStatus.QUEUED, "", 0)


def test_a_failing_action_leaves_nothing_half_written(
    ada: User, operator_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = PersonalAccessToken.objects.get(user=ada)
    operator_client.raise_request_exception = False
    before = (rows("accounts_personalaccesstoken"), rows("django_admin_log"))

    def fail_after_writing(self: object, request: object, queryset: object) -> None:
        PersonalAccessToken.objects.update(revoked_at="2026-01-01T00:00:00Z")
        raise RuntimeError("in the middle")

    monkeypatch.setattr(
        type(admin.site._registry[PersonalAccessToken]), "revoke", fail_after_writing
    )
    answer = operator_client.post(
        reverse("admin:accounts_personalaccesstoken_changelist"),
        {"action": "revoke", "_selected_action": [str(token.pk)]},
    )

    assert answer.status_code == 500
    assert (rows("accounts_personalaccesstoken"), rows("django_admin_log")) == before


def test_a_plain_user_and_a_suspended_operator_stay_outside(ada: User) -> None:
    ada.set_password(PASSWORD)
    with acting_as(ada.pk):
        ada.save(update_fields=["password"])
    suspended = make_operator("mallory", Role.ADMIN)
    with connections["operator"].cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_user SET account_status = 'suspended' WHERE id = %s", [suspended.pk]
        )

    for username in ("ada", "mallory"):
        client = Client()
        client.post(reverse("admin:login"), {"username": username, "password": PASSWORD})

        assert client.get(reverse("admin:index")).status_code == 302


def test_only_a_superadmin_changes_somebodys_standing(ada: User) -> None:
    client = operator_browser("alan", role=Role.ADMIN)

    answer = client.post(
        reverse("admin:accounts_user_change", args=[ada.pk]),
        {"role": "superadmin", "account_status": "active"},
    )

    assert answer.status_code == 403
    assert User.objects.get(pk=ada.pk).role == Role.USER


def test_the_log_names_conversation_and_owner(ada: User, operator_client: Client) -> None:
    with acting_as(ada.pk):
        title = DeduplicationLog.objects.select_related("conversation").get().conversation.title

    page = operator_client.get(reverse("admin:dedup_deduplicationlog_changelist"))

    assert title[:40] in page.content.decode()


@pytest.mark.parametrize("path", ["/admin/%00", "/admin/a%00b/", "/admin/%ff"])
def test_an_address_that_is_no_text_is_no_error(path: str) -> None:
    answer = Client().get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/?next=")
