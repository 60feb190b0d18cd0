from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Preference


@extend_schema_field(OpenApiTypes.ANY)
class AnyJsonField(serializers.Field[Any, Any, Any, Any]):
    """Any JSON but null, as it was parsed: the service says what can be kept."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class PreferenceInput(serializers.Serializer[None]):
    value = AnyJsonField()


class PreferenceOutput(serializers.ModelSerializer[Preference]):
    value = AnyJsonField(read_only=True)

    class Meta:
        model = Preference
        fields = ["key", "value", "updated_at"]


class PreferenceValueOutput(serializers.ModelSerializer[Preference]):
    """What stands under the name of a setting among all of them."""

    value = AnyJsonField(read_only=True)

    class Meta:
        model = Preference
        fields = ["value", "updated_at"]
