"""Texts as the API shows them: without their secrets, unless their owner asks."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from dedup.hashing import text_of
from dedup.models import Revision
from dedup.secrets import masked, masked_value

MASKED, SHOWN = "masked", "shown"


class SecretsInput(serializers.Serializer[Any]):
    secrets = serializers.ChoiceField(
        [MASKED, SHOWN], default=MASKED, help_text="Whether secrets are masked or shown"
    )


def are_revealed(request: Request) -> bool:
    """Whether the request asks to see secrets. Raises ValidationError if it asks otherwise."""
    given = SecretsInput(data=request.query_params)
    given.is_valid(raise_exception=True)
    return bool(given.validated_data["secrets"] == SHOWN)


def asks_for_secrets(request: Request) -> bool:
    """Whether it asked, rightly or not."""
    return bool(request.query_params.get("secrets") == SHOWN)


def text_shown(revision: Revision, *, revealed: bool) -> str:
    """The words of a revision; what was stored is masked, so the whole ones are made again."""
    return text_of(revision.content) if revealed else masked(revision.text)


class MaskedTextField(serializers.CharField):
    def to_representation(self, value: Any) -> str:
        text = super().to_representation(value)
        return text if self.context.get("revealed") else masked(text)


@extend_schema_field(OpenApiTypes.ANY)
class MaskedJSONField(serializers.JSONField):
    def to_representation(self, value: Any) -> Any:
        return value if self.context.get("revealed") else masked_value(value)
