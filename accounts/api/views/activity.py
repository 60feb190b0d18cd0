from django.db.models import QuerySet

from accounts.api.filters import ActivityFilter
from accounts.api.serializers.activity import ActivityOutput
from accounts.choices import Scope
from audit.models import Activity
from common.api.views import ReadMixin, TenantViewSet


class ActivityViewSet(ReadMixin, TenantViewSet):
    """What happened to the account and to the things that belong to it."""

    read_scope = Scope.ACCOUNT_READ
    serializer_class = ActivityOutput
    filterset_class = ActivityFilter
    queryset = Activity.objects.none()

    def get_queryset(self) -> QuerySet[Activity]:
        return Activity.objects.visible_to(self.user_id)
