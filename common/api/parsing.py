"""Bodies of JSON, of a size and a depth that one request may bring."""

import io
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from common.errors import TooLargeError

LARGEST_BODY_BYTES = 4 * 1024 * 1024


class BoundedJsonParser(JSONParser):
    """Refuses what is larger than 4 MiB, and what is nested deeper than Python can follow."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        body = stream.read(LARGEST_BODY_BYTES + 1)
        if len(body) > LARGEST_BODY_BYTES:
            raise TooLargeError(f"A body of JSON may have at most {LARGEST_BODY_BYTES} bytes.")
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error
