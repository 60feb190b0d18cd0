from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.filters import ActivityFilter
from accounts.api.serializers import AccountOutput, ActivityOutput
from accounts.choices import Scope
from audit.models import Activity
from common.api.views import ReadMixin, TenantViewSet


class AccountViewSet(TenantViewSet):
    """The account that the token belongs to."""

    read_scope = Scope.ACCOUNT_READ
    serializer_class = AccountOutput

    @extend_schema(operation_id="account_retrieve")
    def retrieve(self, request: Request) -> Response:
        return Response(self.get_serializer(request.user).data)


class ActivityViewSet(ReadMixin, TenantViewSet):
    """What happened to the account and to the things that belong to it."""

    read_scope = Scope.ACCOUNT_READ
    serializer_class = ActivityOutput
    filterset_class = ActivityFilter
    queryset = Activity.objects.none()

    def get_queryset(self) -> QuerySet[Activity]:
        return Activity.objects.visible_to(self.user_id)
