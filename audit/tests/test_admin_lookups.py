"""What an operator may ask of a list: its filters, and nothing that no page shows."""

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import RequestFactory
from django.urls import reverse

from accounts.choices import Role
from accounts.tests.factories import make_operator, operator_browser
from audit.house import HouseAdmin
from common.tests.connections import connect_as_superuser
from tests.events import security

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

LOOKUPS = ("", "__startswith", "__contains", "__gte", "__regex", "__isnull", "__in")
# By fields; other filters have parameters of their own.
FILTERED = {
    "accounts_user": {"role", "account_status"},
    "accounts_devicesession": {"platform", "ended_because"},
    "accounts_consent": {"type", "given", "source"},
    "accounts_subscription": {"tier", "status", "provider"},
    "accounts_biometrickey": {"kind", "status"},
    "audit_changeevent": {"table_name", "operation"},
    "audit_securityevent": {"kind", "subject"},
    "dedup_import": {"status", "source", "created_at"},
    "dedup_artifact": {"created_at"},
    "dedup_conversation": {"source", "updated_at"},
    "dedup_deduplicationlog": {"operation", "created_at"},
    # The one that a message names is a filter of its own.
    "dedup_message": {"source", "sent_at", "conversation"},
}


@pytest.mark.parametrize(
    "page",
    [page for page in admin.site._registry.values() if isinstance(page, HouseAdmin)],
    ids=lambda page: f"{page.opts.app_label}_{page.opts.model_name}",
)
def test_no_field_is_asked_for_but_those_of_filters(page: HouseAdmin) -> None:
    request = RequestFactory().get("/")
    label = f"{page.opts.app_label}_{page.opts.model_name}"

    answered = {
        field.name
        for field in page.opts.concrete_fields
        for name in {field.name, field.attname}
        if any(page.lookup_allowed(f"{name}{lookup}", "x", request) for lookup in LOOKUPS)
    }

    assert answered == FILTERED.get(label, set())


@pytest.mark.parametrize(
    "page",
    [page for page in admin.site._registry.values() if isinstance(page, HouseAdmin)],
    ids=lambda page: f"{page.opts.app_label}_{page.opts.model_name}",
)
def test_no_field_of_a_related_row_is_asked_for(page: HouseAdmin) -> None:
    request = RequestFactory().get("/")

    answered = {
        f"{start}__{field.name}"
        for relation in page.opts.get_fields()
        if relation.is_relation and relation.related_model is not None
        for start in (relation.name, "pk")
        for field in relation.related_model._meta.concrete_fields
        # Keys stand in links.
        if not field.primary_key
        if page.lookup_allowed(f"{start}__{field.name}__startswith", "x", request)
    }

    assert answered == ({"revisions__role"} if page.opts.model_name == "message" else set())


def test_every_page_of_the_admin_is_one_of_the_house() -> None:
    assert [
        page for page in admin.site._registry.values() if not isinstance(page, HouseAdmin)
    ] == []


@pytest.mark.parametrize("role", [Role.ADMIN, Role.SUPERADMIN])
def test_a_password_is_not_read_letter_by_letter(role: Role) -> None:
    boss = make_operator("boss")
    browser = operator_browser(role=role)
    looks = len(security("operator_looked"))

    def ask(**query: str) -> tuple[int, bool]:
        answer = browser.get(reverse("admin:accounts_user_changelist"), query)
        return answer.status_code, "boss" in answer.content.decode()

    for length in (1, 8, 40):
        assert ask(password__startswith=boss.password[:length]) == (400, False)
    assert ask(role="superadmin", password__gt="a") == (400, False)
    assert ask(role="superadmin", q="boss") == (200, True)
    assert len(security("operator_looked")) == looks + 1


def test_a_change_leaves_no_name_behind_in_the_log_of_django() -> None:
    ada = get_user_model().objects.create(username="ada.lovelace")
    browser = operator_browser()

    answer = browser.post(
        reverse("admin:accounts_user_change", args=[ada.pk]),
        {"role": "user", "account_status": "suspended"},
    )

    assert answer.status_code == 302
    assert logged() == [(str(ada.pk), str(ada.pk), '[{"changed": {"fields": ["Account status"]}}]')]
    history = browser.get(reverse("admin:accounts_user_history", args=[ada.pk]))
    assert "Changed Account status." in history.content.decode()


def logged() -> list[tuple[object, ...]]:
    with connect_as_superuser() as connection:
        return connection.execute(
            "SELECT object_id, object_repr, change_message FROM django_admin_log ORDER BY id"
        ).fetchall()
