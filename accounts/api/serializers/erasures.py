from rest_framework import serializers

from accounts.models import ErasureRequest


class ErasureInput(serializers.Serializer[None]):
    confirmation = serializers.CharField(
        required=False, default="", help_text="The word DELETE_ALL_MY_DATA"
    )


class ErasureOutput(serializers.ModelSerializer[ErasureRequest]):
    class Meta:
        model = ErasureRequest
        fields = ["id", "status", "requested_at", "due_at", "cancelled_at", "completed_at"]


class RequestedErasureOutput(ErasureOutput):
    token = serializers.CharField(
        help_text="Cancels the erasure before `due_at`, and opens the receipt afterwards;"
        " it is shown this once"
    )

    class Meta(ErasureOutput.Meta):
        fields = [*ErasureOutput.Meta.fields, "token"]


class ErasureTokenInput(serializers.Serializer[None]):
    token = serializers.CharField(max_length=100, help_text="As the request was answered with")


class KeptOutput(serializers.Serializer[None]):
    table = serializers.CharField()
    basis = serializers.CharField(help_text="Why it is kept")
    days = serializers.IntegerField(allow_null=True, help_text="For how long, if there is an end")


class ReceiptOutput(serializers.Serializer[None]):
    """A signed account of an erasure; the signature is an HMAC-SHA-256 that we can check."""

    format = serializers.CharField()
    id = serializers.UUIDField()
    user_id = serializers.UUIDField()
    requested_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField()
    deleted = serializers.DictField(
        child=serializers.IntegerField(), help_text="Rows and files deleted, by table"
    )
    kept = KeptOutput(many=True)
    signature = serializers.CharField()
