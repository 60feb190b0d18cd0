"""The bases of the views of the API, and how a view reads what it was sent."""

from typing import Any
from uuid import UUID

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from common.tenancy import acting_as


def given(serializer: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """What was sent, as the serializer reads it. Raises ValidationError for what it refuses."""
    reading = serializer(data=data)
    reading.is_valid(raise_exception=True)
    values: dict[str, Any] = reading.validated_data
    return values


class TenantViewSet(GenericViewSet):  # type: ignore[type-arg]  # generic in the stubs only
    """A resource of the person who asks.

    Reads go through `list` and `retrieve`, which evaluate and serialise inside `acting_as`;
    writes call one service, which opens its own.
    """

    # The scope a token needs, by kind of request; a view without them answers nobody.
    read_scope: str
    write_scope: str

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        answer: Response = super().finalize_response(request, response, *args, **kwargs)
        # What is somebody's own is kept by nobody on the way, unless the view says otherwise.
        answer.headers.setdefault("Cache-Control", "private, no-store")
        return answer

    @property
    def user_id(self) -> UUID:
        user_id = self.request.user.pk
        # The permission class lets nobody in without a user.
        assert isinstance(user_id, UUID)  # noqa: S101
        return user_id


class OpenView(APIView):
    """For everybody, whether or not they are logged in."""

    authentication_classes = []
    permission_classes = [AllowAny]


class ReadMixin:
    """`GET` of a list and of one, as the person who asks."""

    def list(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        with acting_as(self.user_id):
            page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
            answer: Response = self.get_paginated_response(
                self.get_serializer(page, many=True).data
            )
            return answer

    def retrieve(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        with acting_as(self.user_id):
            return Response(self.get_serializer(self.get_object()).data)
