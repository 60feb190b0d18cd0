from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.serializers.account import AccountOutput
from accounts.choices import Scope
from common.api.views import TenantViewSet


class AccountViewSet(TenantViewSet):
    """The account that the token belongs to."""

    read_scope = Scope.ACCOUNT_READ
    serializer_class = AccountOutput

    @extend_schema(operation_id="account_retrieve")
    def retrieve(self, request: Request) -> Response:
        return Response(self.get_serializer(request.user).data)
