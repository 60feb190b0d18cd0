"""The stream is written to files: each event once, in order, chained."""

import json

import pytest

from accounts.tests.factories import make_user
from audit.exporting import export_events
from audit.lines import BEGINNING, hash_of
from audit.models import ExportBatch
from audit.tests.streams import export_everything, lines_of
from audit.verification import verify_stream
from common.tenancy import acting_as, as_operator

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "trace"])


def test_a_change_is_a_line_without_words() -> None:
    ada = make_user("ada")

    batches = export_everything()

    (line,) = lines_of(*batches)
    assert line["event"] == "user-registration"
    assert (line["subject"], line["row"], line["operation"]) == (
        "accounts_user",
        str(ada.pk),
        "INSERT",
    )
    assert line["new"].keys() == {"id", "role", "account_status", "created_at"}
    assert (line["n"], line["previous"]) == (1, BEGINNING.hex())
    assert line["hash"] == hash_of(line).hex()
    assert "ada" not in json.dumps(line)
    assert bytes(batches[-1].head or b"").hex() == line["hash"]


def test_nothing_new_makes_no_file() -> None:
    make_user()

    written = export_everything()

    assert export_events() is None
    with as_operator("test"):
        assert ExportBatch.objects.count() == len(written) == 1


def test_an_update_names_what_changed_and_keeps_no_words() -> None:
    ada = make_user()
    export_everything()
    ada.metadata = {"note": "a secret wish"}
    ada.set_password("correct horse battery staple")
    with acting_as(ada.pk):
        ada.save(update_fields=["metadata", "password"])

    batches = export_everything()

    (line,) = lines_of(*batches)
    assert line["changed"] == ["metadata", "password"]
    assert (line["actor"], line["user"], line["role"]) == (str(ada.pk), str(ada.pk), "app")
    assert "wish" not in json.dumps(line)
    assert verify_stream().problems == []
