"""What an upload that is too large gets, before and after its body was read."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from accounts.models import User
from accounts.tests.factories import client_of, make_user
from common.tenancy import acting_as
from common.uploads import FORM_BYTES
from dedup.models import Import

pytestmark = pytest.mark.django_db

LARGEST = 1000


def upload(user: User, size: int) -> Any:
    file = SimpleUploadedFile("session.jsonl", b"x" * size)
    return client_of(user).post("/api/v1/imports/", {"file": file}, format="multipart")


def test_an_upload_that_is_much_too_large_is_refused_unread(
    settings: Settings, tmp_path: Path
) -> None:
    settings.LARGEST_UPLOAD_BYTES = LARGEST
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    ada = make_user()

    answer = upload(ada, LARGEST + FORM_BYTES)

    assert answer.status_code == 413
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "too_large"
    assert answer.json()["detail"] == "A file may have at most 1000 bytes."
    assert list(tmp_path.iterdir()) == []
    with acting_as(ada.pk):
        assert not Import.objects.exists()


def test_one_that_is_a_little_too_large_is_refused_by_its_field(settings: Settings) -> None:
    settings.LARGEST_UPLOAD_BYTES = LARGEST
    ada = make_user()

    answer = upload(ada, LARGEST + 1)

    assert answer.status_code == 400
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("file", "too_large")
    ]
    with acting_as(ada.pk):
        assert not Import.objects.exists()
