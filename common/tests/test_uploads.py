from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.test import RequestFactory
from pytest_django import Settings

from common.uploads import FORM_BYTES

SMALL = b"x" * 100


@pytest.fixture(autouse=True)
def small_limit(settings: Settings, tmp_path: Path) -> None:
    settings.LARGEST_UPLOAD_BYTES = 1000
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


def test_a_request_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    content = b"x" * (1000 + FORM_BYTES)
    request = RequestFactory().post("/", {"file": SimpleUploadedFile("a.jsonl", content)})

    with (
        patch.object(TemporaryFileUploadHandler, "new_file") as begun,
        pytest.raises(RequestDataTooBig),
    ):
        request.FILES  # noqa: B018 - to look is to parse

    assert not begun.called
    assert list(tmp_path.iterdir()) == []


def test_a_request_within_the_limit_is_received_on_disk(tmp_path: Path) -> None:
    request = RequestFactory().post("/", {"file": SimpleUploadedFile("a.jsonl", SMALL)})

    file = request.FILES["file"]

    assert file.read() == SMALL  # type: ignore[union-attr]  # one file, not a list
    assert len(list(tmp_path.iterdir())) == 1
    file.close()  # type: ignore[union-attr]  # one file, not a list
