"""How uploads are received: on disk, and no more of them than is accepted."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import TemporaryFileUploadHandler

# What a form has besides its file: boundaries, headers and other fields.
FORM_BYTES = 1 << 20


class BoundedUploadHandler(TemporaryFileUploadHandler):
    """Refuses a request that is too large before its body is read."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> None:
        if content_length > settings.LARGEST_UPLOAD_BYTES + FORM_BYTES:
            raise RequestDataTooBig(f"A file may have {settings.LARGEST_UPLOAD_BYTES} bytes.")
