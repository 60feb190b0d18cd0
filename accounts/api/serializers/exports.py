from rest_framework import serializers

from accounts.models import ExportRequest


class ExportOutput(serializers.ModelSerializer[ExportRequest]):
    sha256 = serializers.SerializerMethodField(help_text="Of the file's bytes, in hexadecimal")

    class Meta:
        model = ExportRequest
        fields = [
            "id", "status", "requested_at", "ready_at", "expires_at", "size", "sha256", "taken_at",
        ]  # fmt: skip

    def get_sha256(self, row: ExportRequest) -> str | None:
        return bytes(row.sha256).hex() if row.sha256 else None


class LinkOutput(serializers.Serializer[None]):
    url = serializers.URLField(help_text="Gives the file once; needs no token")
    expires_at = serializers.DateTimeField()
