from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.serializers.preferences import (
    PreferenceInput,
    PreferenceOutput,
    PreferenceValueOutput,
)
from accounts.choices import Scope
from accounts.models import Preference
from accounts.querysets import PreferenceQuerySet
from accounts.services.preferences import (
    change_preferences,
    forget_preference,
    set_preference,
)
from common.api.views import TenantViewSet, given
from common.errors import InvalidInputError
from common.tenancy import acting_as

# Each under its name.
ALL = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["value", "updated_at"],
        "properties": {"value": {}, "updated_at": {"type": "string", "format": "date-time"}},
    },
}


class PreferenceViewSet(TenantViewSet):
    """Settings that frontends keep for the person, by name."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = PreferenceOutput
    queryset = Preference.objects.none()
    lookup_field = "key"
    pagination_class = None

    def get_queryset(self) -> PreferenceQuerySet:
        mine: PreferenceQuerySet = Preference.objects.visible_to(self.user_id).order_by("key")
        return mine

    @extend_schema(operation_id="preferences_list", responses={(200, "application/json"): ALL})
    def show(self, request: Request) -> Response:
        """All of them, each under its name."""
        return Response(self.all_by_name())

    @extend_schema(
        request={"application/json": {"type": "object", "additionalProperties": {}}},
        responses={(200, "application/json"): ALL},
    )
    def change(self, request: Request) -> Response:
        """Set several at once, by a merge patch (RFC 7396): names with values, null to forget.

        A value is replaced whole, also where it is an object. All changes are made or none.
        """
        if not isinstance(request.data, dict):
            raise InvalidInputError("Send an object of names with values.")
        change_preferences(user_id=self.user_id, changes=request.data)
        return Response(self.all_by_name())

    def retrieve(self, request: Request, key: str) -> Response:
        with acting_as(self.user_id):
            return Response(self.get_serializer(self.get_queryset().called(key).get()).data)

    @extend_schema(request=PreferenceInput)
    def update(self, request: Request, key: str) -> Response:
        """Set one, whether there is one of this name or not."""
        value = given(PreferenceInput, request.data)["value"]
        kept = set_preference(user_id=self.user_id, key=key, value=value)
        return Response(self.get_serializer(kept).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, key: str) -> Response:
        forget_preference(user_id=self.user_id, key=key)
        return Response(status=204)

    def all_by_name(self) -> dict[str, Any]:
        with acting_as(self.user_id):
            return {row.key: PreferenceValueOutput(row).data for row in self.get_queryset()}
