from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.choices import Scope
from common.api.pagination import (
    PAGE_PARAMETERS,
    KeysetPagination,
    cursor_values,
    page_response,
    page_size_of,
)
from common.api.views import ReadMixin, TenantViewSet
from common.errors import InvalidInputError
from common.idempotency import Answer, answer_once, fingerprint_of
from common.tenancy import acting_as
from dedup.api.filters import ConversationFilter, ImportFilter
from dedup.api.serializers import (
    ConversationOutput,
    ImportDetailOutput,
    ImportInput,
    ImportOutput,
    MessageDetailOutput,
    PlacedMessageOutput,
    SearchHitOutput,
    SearchInput,
)
from dedup.models import Conversation, Import, Message, Placement
from dedup.selectors import SearchFilters, latest_revisions, search_messages
from dedup.services import keep_upload, start_import


class ArchiveViewSet(TenantViewSet):
    read_scope = Scope.ARCHIVES_READ
    write_scope = Scope.ARCHIVES_WRITE


class ImportViewSet(ReadMixin, ArchiveViewSet):
    """Imports of conversation exports."""

    queryset = Import.objects.none()
    filterset_class = ImportFilter
    parser_classes = [MultiPartParser]

    def get_queryset(self) -> QuerySet[Import]:
        return Import.objects.visible_to(self.user_id).select_related("artifact")

    def get_serializer_class(self) -> Any:
        return ImportDetailOutput if self.action == "retrieve" else ImportOutput

    @extend_schema(
        request={"multipart/form-data": ImportInput},
        responses={202: ImportOutput},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def create(self, request: Request) -> Response:
        """Upload one export. A worker reads it: follow `Location` or the events."""
        given = ImportInput(data=request.data)
        given.is_valid(raise_exception=True)
        file = given.validated_data["file"]
        # Outside of the transaction, and harmless when repeated: bytes are kept by content.
        kept = keep_upload(user_id=self.user_id, upload=file, name=file.name)

        def start() -> Answer:
            row = start_import(user_id=self.user_id, kept=kept)
            return Answer(
                202, dict(ImportOutput(row).data), reverse("import-detail", args=[row.pk])
            )

        answer, replayed = answer_once(
            user_id=self.user_id,
            key=request.headers.get("Idempotency-Key", ""),
            fingerprint=fingerprint_of("imports", kept.name, kept.sha256.hex()),
            action=start,
        )
        headers = {"Location": request.build_absolute_uri(answer.location)}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(answer.body, answer.status, headers=headers)


class ReadingOrder(KeysetPagination):
    keyset = ("segment__number", "position")


class ConversationViewSet(ReadMixin, ArchiveViewSet):
    """Conversations of the archive."""

    queryset = Conversation.objects.none()
    serializer_class = ConversationOutput
    filterset_class = ConversationFilter

    def get_queryset(self) -> QuerySet[Conversation]:
        return Conversation.objects.visible_to(self.user_id).select_related("watermark")

    @extend_schema(responses=PlacedMessageOutput(many=True), filters=False)
    @action(detail=True, pagination_class=ReadingOrder, filter_backends=[])
    def messages(self, request: Request, pk: str) -> Response:
        """The conversation's messages in reading order."""
        with acting_as(self.user_id):
            conversation = get_object_or_404(self.get_queryset(), pk=pk)
            placements = Placement.objects.visible_to(self.user_id).filter(
                segment__conversation=conversation
            )
            page = self.paginate_queryset(placements.select_related("segment", "message")) or []
            revisions = latest_revisions(row.message_id for row in page)
            output = PlacedMessageOutput(
                page,  # type: ignore[arg-type]  # the stubs know no many=True
                many=True,
                context={"revisions": revisions},
            )
            return self.get_paginated_response(output.data)


class MessageViewSet(ReadMixin, ArchiveViewSet):
    """Messages of the archive, found by their words."""

    queryset = Message.objects.none()
    serializer_class = MessageDetailOutput
    filter_backends = []

    def get_queryset(self) -> QuerySet[Message]:
        return Message.objects.visible_to(self.user_id).prefetch_related("revisions")

    @extend_schema(
        parameters=[SearchInput, *(OpenApiParameter(p["name"], str) for p in PAGE_PARAMETERS)],
        responses=SearchHitOutput(many=True),
    )
    def list(self, request: Request) -> Response:
        """Find words in messages; the best matches come first."""
        given = SearchInput(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = dict(given.validated_data)
        filters = SearchFilters(words=values.pop("q"), **values)
        size = page_size_of(request)
        with acting_as(self.user_id):
            hits = search_messages(filters, most=size + 1, after=_after(request))
            more, hits = len(hits) > size, hits[:size]
            revisions = {hit.message.pk: hit.revision for hit in hits}
            output = SearchHitOutput(
                hits,  # type: ignore[arg-type]  # the stubs know no many=True
                many=True,
                context={"revisions": revisions},
            )
            last = [hits[-1].rank, hits[-1].message.pk] if more else None
            return page_response(request, output.data, last)


def _after(request: Request) -> tuple[float, UUID] | None:
    """Rank and id of the last hit on the page before. Raises InvalidInputError."""
    values = cursor_values(request, 2)
    if not values:
        return None
    rank, message_id = values
    try:
        if isinstance(rank, float) and 0 <= rank <= 1:
            return rank, UUID(message_id)
    except (ValueError, TypeError, AttributeError):
        pass
    raise InvalidInputError("The cursor is not one of ours: follow `next` from the first page.")
