"""Cursor pagination: stable while rows come in, and as quick on the last page as on the first."""

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """By id, which is a UUIDv7 and so sorts by time of making."""

    ordering = "-id"
    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
