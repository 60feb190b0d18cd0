from django.utils import timezone
from rest_framework import serializers

from accounts.models import DeviceSession


class SessionOutput(serializers.ModelSerializer[DeviceSession]):
    """A login on a device."""

    device_name = serializers.CharField(allow_null=True)
    address = serializers.CharField(allow_null=True)
    agent = serializers.CharField(allow_null=True)
    is_current = serializers.SerializerMethodField(help_text="Whether this request came from it")
    is_going_on = serializers.SerializerMethodField(help_text="Whether it still opens the API")

    class Meta:
        model = DeviceSession
        fields = [
            "id", "device_id", "platform", "device_name", "device_model", "app_version",
            "os_version", "address", "agent", "method", "created_at", "last_seen_at", "proved_at",
            "expires_at", "ended_at", "ended_because", "is_current", "is_going_on",
        ]  # fmt: skip

    def get_is_current(self, session: DeviceSession) -> bool:
        return bool(session.pk == self.context["request"].auth.session_id)

    def get_is_going_on(self, session: DeviceSession) -> bool:
        return session.ended_at is None and session.expires_at > timezone.now()


class EndedSessionsOutput(serializers.Serializer[None]):
    ended = serializers.IntegerField(help_text="How many sessions went on until then")
