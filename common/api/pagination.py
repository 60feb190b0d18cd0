"""Cursor pagination: stable while rows come in, and as quick on the last page as on the first."""

import base64
import json
from collections.abc import Sequence
from typing import Any, NoReturn
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import BasePagination, Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from common.errors import InvalidInputError

PAGE_SIZE = 50
LARGEST_PAGE = 200


class NewestFirst(CursorPagination):
    """By id, which is a UUIDv7 and so sorts by time of making."""

    ordering = "-id"
    page_size = PAGE_SIZE
    max_page_size = LARGEST_PAGE
    page_size_query_param = "page_size"

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
            if cursor and cursor.position is not None:
                UUID(str(cursor.position))
        except (NotFound, ValueError) as error:
            raise _bad_cursor() from error
        return cursor


class KeysetPagination(BasePagination):
    """Forward pages by several ascending fields, which together are unique.

    A subclass names them in `keyset`. Unlike NewestFirst, pages do not fall back on offsets
    where the first field repeats.
    """

    keyset: tuple[str, ...]

    def paginate_queryset(  # type: ignore[override]  # a sequence has no keyset
        self, queryset: QuerySet[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        self.request = request
        size = page_size_of(request)
        if after := cursor_values(request, len(self.keyset)):
            try:
                queryset = queryset.filter(_beyond(self.keyset, after))
            except (ValueError, TypeError, OverflowError, ValidationError) as error:
                raise _bad_cursor() from error
        rows = list(queryset.order_by(*self.keyset)[: size + 1])
        self.last = rows[size - 1] if len(rows) > size else None
        return rows[:size]

    def get_paginated_response(self, data: Any) -> Response:
        after = [_value(self.last, name) for name in self.keyset] if self.last else None
        return page_response(self.request, data, after)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return page_schema(schema)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return PAGE_PARAMETERS


PAGE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "cursor",
        "in": "query",
        "required": False,
        "description": "Where to go on: taken from `next`",
        "schema": {"type": "string"},
    },
    {
        "name": "page_size",
        "in": "query",
        "required": False,
        "description": f"Results per page, at most {LARGEST_PAGE}",
        "schema": {"type": "integer"},
    },
]


def page_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["next", "previous", "results"],
        "properties": {
            "next": {"type": "string", "nullable": True, "format": "uri"},
            "previous": {"type": "string", "nullable": True, "format": "uri"},
            "results": schema,
        },
    }


def page_size_of(request: Request) -> int:
    """The page size asked for, bounded; PAGE_SIZE where it is not a positive number."""
    try:
        asked = int(request.query_params.get("page_size", PAGE_SIZE))
    except ValueError:
        return PAGE_SIZE
    return min(asked, LARGEST_PAGE) if asked > 0 else PAGE_SIZE


def cursor_values(request: Request, count: int) -> list[Any]:
    """The values that the cursor stands for, or an empty list. Raises InvalidInputError."""
    cursor = request.query_params.get("cursor", "")
    if not cursor:
        return []
    try:
        decoded = base64.urlsafe_b64decode(cursor.encode())
        values = json.loads(decoded, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _bad_cursor() from error
    if not isinstance(values, list) or len(values) != count:
        raise _bad_cursor()
    return values


def page_response(request: Request, results: Any, after: Sequence[Any] | None) -> Response:
    """One page; `after` are the values of its last row if there are more."""
    following = None
    if after:
        cursor = base64.urlsafe_b64encode(json.dumps(after, default=str).encode()).decode()
        following = replace_query_param(request.build_absolute_uri(), "cursor", cursor)
    return Response({"next": following, "previous": None, "results": results})


def _bad_cursor() -> InvalidInputError:
    return InvalidInputError("The cursor is not one of ours: follow `next` from the first page.")


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity are no JSON, though the parser takes them."""
    raise ValueError(name)


def _beyond(names: tuple[str, ...], values: list[Any]) -> Q:
    """(a, b) > (x, y), spelled out."""
    (name, *more_names), (value, *more_values) = names, values
    beyond = Q(**{f"{name}__gt": value})
    if more_names:
        beyond |= Q(**{name: value}) & _beyond(tuple(more_names), more_values)
    return beyond


def _value(row: Any, name: str) -> Any:
    for part in name.split("__"):
        row = getattr(row, part)
    return row
