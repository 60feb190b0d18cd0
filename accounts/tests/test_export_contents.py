"""An export holds nothing that opens anything, though what it describes does."""

import io
import json
from typing import Any
from zipfile import ZipFile

import pytest
from django.core.files.storage import default_storage

from accounts.choices import Scope
from accounts.models import ExportRequest, User
from accounts.services.access_tokens import issue_token
from accounts.services.erasures import CONFIRMATION, cancel_erasure, request_erasure
from accounts.services.exports import make_download_link, request_export
from accounts.services.subscriptions import apply_purchase
from accounts.tasks import build_export
from accounts.tests.phones import Phone, person_of, registered
from accounts.tests.purchases import purchase_of
from accounts.tests.test_second_factors import turn_on
from common.privacy import personal_tables
from common.queue import ACTOR_HEADER
from common.tenancy import as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

# Columns that open something, or are of use only to find a row by what opens it.
LEFT_OUT = {
    "accounts_user": {"password"},
    "accounts_personalaccesstoken": {"digest"},
    "accounts_subscription": {"external_digest"},
    "accounts_exportrequest": {"link_digest"},
    "accounts_erasurerequest": {"token_digest"},
    "mfa_authenticator": {"data"},
}


def built(user: User) -> ExportRequest:
    row = request_export(user_id=user.pk)
    build_export.apply(args=(str(row.pk),), headers={ACTOR_HEADER: str(user.pk)}, throw=True)
    with as_operator("test"):
        return ExportRequest.objects.get(pk=row.pk)


def contents_of(row: ExportRequest) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """The rows of each table, and everything together as one text."""
    with (
        default_storage.open(row.stored_as, "rb") as file,
        ZipFile(io.BytesIO(file.read())) as zip_,
    ):
        manifest = json.loads(zip_.read("manifest.json"))
        text = "".join(zip_.read(name).decode(errors="replace") for name in zip_.namelist())
        tables = {
            name: json.loads(zip_.read(table["file"])) for name, table in manifest["tables"].items()
        }
    return tables, text


@pytest.fixture
def ada() -> User:
    """Somebody with one of everything that opens something."""
    phone: Phone = registered()
    user = person_of(phone)
    _, token = request_erasure(user_id=user.pk, confirmation=CONFIRMATION)
    cancel_erasure(token=token)
    phone = Phone()
    phone.log_in()
    turn_on(phone)
    phone.call("get", "account/authenticators/recovery-codes")
    issue_token(user=user, name="nightly script", scopes=(Scope.ACCOUNT_READ,))
    apply_purchase(user_id=user.pk, purchase=purchase_of(user))
    make_download_link(user_id=user.pk, export_id=built(user).pk)
    return user


def test_what_opens_something_is_in_no_row_of_it(ada: User) -> None:
    tables, _ = contents_of(built(ada))

    for table, columns in LEFT_OUT.items():
        assert tables[table], table
        assert columns & {column for row in tables[table] for column in row} == set(), table
    assert tables["accounts_personalaccesstoken"][0]["name"] == "nightly script"
    ours = [table for table in personal_tables() if not table.name.startswith("dedup_")]

    assert {table.name: set(table.without) for table in ours if table.without} == LEFT_OUT
