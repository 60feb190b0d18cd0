import base64
import binascii
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.choices import BiometricKind
from accounts.models import BiometricChallenge, BiometricKey

# What the makers of devices call them, and what we do.
KINDS = {
    "face_id": BiometricKind.FACE,
    "touch_id": BiometricKind.FINGERPRINT,
    "voice_print": BiometricKind.VOICE,
    **{str(kind): kind for kind in BiometricKind},
}


@extend_schema_field(OpenApiTypes.BYTE)
class Base64Field(serializers.CharField):
    """Bytes in standard base64."""

    default_error_messages = {"not_base64": "This is not base64."}

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.fail("not_base64")

    def run_validators(self, value: Any) -> None:
        """On the text that came: its length is what is limited."""
        super().run_validators(base64.b64encode(value).decode())

    def to_representation(self, value: Any) -> str:
        return base64.b64encode(bytes(value)).decode()


class BiometricKeyInput(serializers.Serializer[None]):
    kind = serializers.ChoiceField(choices=sorted(KINDS), help_text="What the owner is known by")
    device_id = serializers.CharField(max_length=100, help_text="The client's own id of the device")
    public_key = Base64Field(
        max_length=400, help_text="DER SubjectPublicKeyInfo in base64: EC P-256 or Ed25519"
    )
    label = serializers.CharField(  # type: ignore[assignment]  # a field of ours, not of the form
        max_length=100, required=False, allow_blank=True, default="", help_text="What you call it"
    )


class SignatureInput(serializers.Serializer[None]):
    device_id = serializers.CharField(max_length=100, help_text="As it was registered with")
    signature = Base64Field(
        min_length=32,
        max_length=200,
        help_text="In base64: ECDSA with SHA-256 in DER, or Ed25519",
    )


class BiometricKeyOutput(serializers.ModelSerializer[BiometricKey]):
    label = serializers.CharField(allow_null=True, read_only=True)  # type: ignore[assignment]  # as above

    class Meta:
        model = BiometricKey
        fields = [
            "id", "kind", "device_id", "label", "status", "failures", "created_at",
            "registered_at", "last_used_at", "revoked_at",
        ]  # fmt: skip


class ChallengeOutput(serializers.ModelSerializer[BiometricChallenge]):
    challenge = Base64Field(read_only=True, help_text="32 random bytes in base64")

    class Meta:
        model = BiometricChallenge
        fields = ["purpose", "challenge", "expires_at"]


class AnnouncedKeyOutput(BiometricKeyOutput):
    challenge = ChallengeOutput(read_only=True)

    class Meta(BiometricKeyOutput.Meta):
        fields = [*BiometricKeyOutput.Meta.fields, "challenge"]
