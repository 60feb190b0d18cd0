from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import HasFreshLogin, HasScope
from accounts.api.serializers.restrictions import RestrictionOutput
from accounts.choices import Scope
from accounts.services.restrictions import lift_restriction, restrict_processing
from common.api.views import TenantViewSet


class RestrictionViewSet(TenantViewSet):
    """While the processing is restricted, what is kept stays, and nothing else is done with it.

    It can be read, exported and erased; writes get `processing_restricted`.
    """

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = RestrictionOutput

    def get_permissions(self) -> list[BasePermission]:
        fresh = self.action in ("create", "destroy")
        return [HasScope(), HasFreshLogin()] if fresh else [HasScope()]

    @extend_schema(operation_id="account_restriction_retrieve")
    def retrieve(self, request: Request) -> Response:
        return Response(self.get_serializer(request.user).data)

    @extend_schema(
        operation_id="account_restriction_create",
        request=None,
        responses={200: RestrictionOutput},
    )
    def create(self, request: Request) -> Response:
        since = restrict_processing(user_id=self.user_id)
        return Response({"processing_restricted_at": since})

    @extend_schema(operation_id="account_restriction_destroy", responses={204: None})
    def destroy(self, request: Request) -> Response:
        lift_restriction(user_id=self.user_id)
        return Response(status=204)
