"""Routes of tests: views on a table of people's things, right and wrong ones."""

from collections.abc import Iterator
from uuid import UUID

from django.db import connection, connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.choices import Scope
from accounts.models import RecordedAnswer
from accounts.querysets import RecordedAnswerQuerySet
from common.api.views import ReadMixin, TenantViewSet
from common.tenancy import acting_as, current_alias
from config.urls import urlpatterns as of_the_house

handler404 = "common.api.errors.not_found"
handler500 = "common.api.errors.server_error"


class KeyOutput(serializers.ModelSerializer[RecordedAnswer]):
    class Meta:
        model = RecordedAnswer
        fields = ["id", "key"]


class KeyViewSet(ReadMixin, TenantViewSet):
    """The keys that a person has used."""

    read_scope = write_scope = Scope.ACCOUNT_READ
    serializer_class = KeyOutput

    def get_queryset(self) -> RecordedAnswerQuerySet:
        return RecordedAnswer.objects.visible_to(self.user_id)

    def create(self, request: Request) -> Response:
        """Wrong on purpose: it writes for whom the body names."""
        forged = dict(request.data)["user_id"]
        with acting_as(self.user_id):
            row = RecordedAnswer.objects.create(
                user_id=forged, key="forged", fingerprint="", status=200
            )
        return Response(self.get_serializer(row).data)


class CarelessKeyViewSet(KeyViewSet):
    """Wrong on purpose: a filter was forgotten, and only the policies are left."""

    def get_queryset(self) -> RecordedAnswerQuerySet:
        return RecordedAnswer.objects.all()


class StreamViewSet(TenantViewSet):
    """One key a line, each read in a transaction of its own."""

    read_scope = Scope.ACCOUNT_READ

    def list(self, request: Request) -> StreamingHttpResponse:
        return StreamingHttpResponse(keys_of(self.user_id), content_type="text/plain")


def keys_of(user_id: UUID) -> Iterator[str]:
    after = UUID(int=0)
    while True:
        with acting_as(user_id):
            row = RecordedAnswer.objects.filter(pk__gt=after).order_by("pk").first()
        if row is None:
            return
        after = row.pk
        yield f"{row.key}\n"


def half_written(request: HttpRequest) -> HttpResponse:
    """Wrong on purpose: an admin page that writes and then fails."""
    RecordedAnswer.objects.all().delete()
    if request.GET.get("how") == "raise":
        raise RuntimeError("after the fact")
    return HttpResponse(status=int(request.GET["status"]))


def role(request: HttpRequest) -> HttpResponse:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("SELECT current_user, current_setting('app.operator_reason', true)")
        return HttpResponse(" ".join(filter(None, cursor.fetchone())))


def ordinary_role(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return HttpResponse(cursor.fetchone()[0])


urlpatterns = [
    path("api/keys/", KeyViewSet.as_view({"get": "list", "post": "create"})),
    path("api/keys/<uuid:pk>/", KeyViewSet.as_view({"get": "retrieve"})),
    path("api/careless/", CarelessKeyViewSet.as_view({"get": "list"})),
    path("api/careless/<uuid:pk>/", CarelessKeyViewSet.as_view({"get": "retrieve"})),
    path("api/stream/", StreamViewSet.as_view({"get": "list"})),
    path("role", role),
    path("admin/test/role", role),
    path("admin/test/default-role", ordinary_role),
    path("admin/test/half-written", half_written),
    *of_the_house,
]
