from uuid import UUID

from django.db.models import QuerySet
from django.http import FileResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import HasFreshLogin, HasScope
from accounts.api.serializers.exports import ExportOutput, LinkOutput
from accounts.choices import Scope
from accounts.models import ExportRequest
from accounts.services.exports import make_download_link, request_export, take_export
from common.api.views import OpenView, ReadMixin, TenantViewSet

ZIP = "application/zip"


class ExportViewSet(ReadMixin, TenantViewSet):
    """Everything that is kept of the person, as a zip that a worker builds."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = ExportOutput
    queryset = ExportRequest.objects.none()

    def get_queryset(self) -> QuerySet[ExportRequest]:
        return ExportRequest.objects.visible_to(self.user_id)

    def get_permissions(self) -> list[BasePermission]:
        fresh = self.action in ("create", "download_link")
        return [HasScope(), HasFreshLogin()] if fresh else [HasScope()]

    @extend_schema(request=None, responses={202: ExportOutput})
    def create(self, request: Request) -> Response:
        """Asks for an export. It takes a while; its state is at the address in `Location`."""
        export = request_export(user_id=self.user_id)
        place = reverse("export", args=[export.pk])
        return Response(self.get_serializer(export).data, 202, headers={"Location": place})

    @extend_schema(request=None, responses=LinkOutput)
    def download_link(self, request: Request, pk: UUID) -> Response:
        """A link that gives the file once, within 15 minutes; an earlier one gives nothing."""
        link = make_download_link(user_id=self.user_id, export_id=pk)
        return Response(LinkOutput(link).data)  # type: ignore[arg-type]  # any object with these attributes


class ExportDownloadView(OpenView):
    """The file, for whoever has its link."""

    # HEAD would use the link up and give nothing.
    http_method_names = ["get"]

    @extend_schema(
        operation_id="account_export_download",
        parameters=[OpenApiParameter("token", str, OpenApiParameter.PATH)],
        responses={(200, ZIP): OpenApiTypes.BINARY},
        auth=[],
    )
    def get(self, request: Request, token: str) -> FileResponse:
        export, file = take_export(token=token)
        name = f"commonplace-{export.ready_at:%Y-%m-%d}.zip"
        response = FileResponse(file, as_attachment=True, filename=name, content_type=ZIP)
        response["X-Content-Type-Options"] = "nosniff"
        response["Cache-Control"] = "no-store"
        response["Referrer-Policy"] = "no-referrer"
        return response
