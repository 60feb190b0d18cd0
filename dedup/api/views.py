from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.choices import Scope
from audit.choices import SecurityKind
from audit.recording import record_for_each
from common.api.pagination import (
    PAGE_PARAMETERS,
    KeysetPagination,
    NewestFirst,
    cursor_values,
    page_response,
    page_size_of,
)
from common.api.views import ReadMixin, TenantViewSet, given
from common.errors import ConflictError, InvalidInputError
from common.idempotency import Answer, answer_once, fingerprint_of
from common.locks import lift_time_limit
from common.tenancy import acting_as
from dedup.api.downloads import download, opened, written
from dedup.api.filters import ConversationFilter, ImportFilter, placements_wanted
from dedup.api.masking import SecretsInput, are_revealed, asks_for_secrets, text_shown
from dedup.api.reports import (
    ArchiveStatisticsOutput,
    BranchPointOutput,
    ConversationStatisticsOutput,
    GapsOutput,
    IntegrityOutput,
    LogOutput,
    VerificationOutput,
)
from dedup.api.serializers import (
    LATEST,
    ConversationDetailOutput,
    ConversationOutput,
    ExportInput,
    ImportDetailOutput,
    ImportInput,
    ImportOutput,
    MessageDetailOutput,
    MessagesInput,
    PlacedMessageOutput,
    SearchHitOutput,
    SearchInput,
    shown_in,
)
from dedup.branches import branches_in
from dedup.choices import ImportStatus
from dedup.models import Conversation, Import, Message
from dedup.rendering import Form, file_name, render_conversation
from dedup.secrets import masked
from dedup.selectors import SearchFilters, latest_revisions, search_messages
from dedup.services import Wanted, keep_upload, start_import
from dedup.statistics import (
    archive_statistics,
    conversation_gaps,
    conversation_statistics,
    log_of,
    with_secrets,
)
from dedup.verification import integrity_problems, verify_import

PAGING = [
    OpenApiParameter(
        parameter["name"],
        int if parameter["schema"]["type"] == "integer" else str,
        description=parameter["description"],
    )
    for parameter in PAGE_PARAMETERS
]
BYTES = {(200, "application/octet-stream"): OpenApiTypes.BINARY}
DOCUMENT = {(200, form.content_type.partition(";")[0]): OpenApiTypes.BINARY for form in Form}


# They answer alike whether or not secrets are asked for.
MASKING_NOTHING = {"file", "verification", "integrity", "create"}


class ArchiveViewSet(TenantViewSet):
    read_scope = Scope.ARCHIVES_READ
    write_scope = Scope.ARCHIVES_WRITE

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "revealed": are_revealed(self.request)}

    def finalize_response(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """To see secrets leaves a trace; OPTIONS shows none, and its key may be anything."""
        response = super().finalize_response(request, *args, **kwargs)
        shown = response.status_code == HTTPStatus.OK and request.method != "OPTIONS"
        if shown and self.action not in MASKING_NOTHING and asks_for_secrets(request):
            self.note(SecurityKind.SECRETS_REVEALED)
        return response

    def note(self, kind: SecurityKind, **details: str) -> None:
        """That the person looked at something sensitive of their own, and through which route."""
        record_for_each(
            kind,
            [self.user_id],
            subject=f"dedup_{self.basename}",
            row_id=UUID(self.kwargs["pk"]) if "pk" in self.kwargs else None,
            details={"action": self.action, **details},
            # What is not recorded is not shown.
            required=True,
        )


@extend_schema_view(
    list=extend_schema(parameters=[SecretsInput]), retrieve=extend_schema(parameters=[SecretsInput])
)
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
        values = given(ImportInput, request.data)
        file = values["file"]
        wanted = Wanted(values.get("source", ""), values.get("conversation", ""))
        # Outside of the transaction, and harmless when repeated: bytes are kept by content.
        kept = keep_upload(user_id=self.user_id, upload=file, name=file.name, wanted=wanted)

        def start() -> Answer:
            row = start_import(user_id=self.user_id, kept=kept)
            return Answer(
                202, dict(ImportOutput(row).data), reverse("import-detail", args=[row.pk])
            )

        answer, replayed = answer_once(
            user_id=self.user_id,
            key=request.headers.get("Idempotency-Key", ""),
            fingerprint=fingerprint_of(
                "imports", kept.name, kept.sha256.hex(), wanted.source, wanted.conversation
            ),
            action=start,
        )
        headers = {"Location": request.build_absolute_uri(answer.location)}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(answer.body, answer.status, headers=headers)

    @extend_schema(responses=BYTES, filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def file(self, request: Request, pk: str) -> FileResponse:
        """The bytes that were imported, exactly, whatever secrets are in them."""
        with acting_as(self.user_id):
            row = get_object_or_404(self.get_queryset(), pk=pk)
        self.note(SecurityKind.FILE_DOWNLOADED)
        return download(
            opened(row.artifact), name=masked(row.name), content_type="application/octet-stream"
        )

    @extend_schema(responses=VerificationOutput, filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def verification(self, request: Request, pk: str) -> Response:
        """Rebuild the file from the database, and compare it with what came.

        Of bytes that were imported before, the import that read them is compared.
        """
        with acting_as(self.user_id):
            rows = self.get_queryset().select_related("artifact", "extends", "original")
            row = get_object_or_404(rows, pk=pk)
            if row.original_id:
                row = rows.get(pk=row.original_id)
            if row.status != ImportStatus.COMPLETED:
                raise ConflictError("Only an import that is completed can be compared.")
            mismatches = verify_import(self.user_id, row)
        found = {"rebuilt": not mismatches, "mismatches": mismatches}
        return Response(VerificationOutput(found).data)


class ReadingOrder(KeysetPagination):
    keyset = ("segment__number", "position")


class LatestFirst(KeysetPagination):
    keyset = ("segment_age", "age")


@extend_schema_view(
    list=extend_schema(parameters=[SecretsInput]), retrieve=extend_schema(parameters=[SecretsInput])
)
class ConversationViewSet(ReadMixin, ArchiveViewSet):
    """Conversations of the archive."""

    queryset = Conversation.objects.none()
    filterset_class = ConversationFilter

    def get_queryset(self) -> QuerySet[Conversation]:
        rows = Conversation.objects.visible_to(self.user_id).select_related("watermark")
        return rows.filter(merged_into=None) if self.action == "list" else rows

    def get_serializer_class(self) -> Any:
        return ConversationOutput if self.action == "list" else ConversationDetailOutput

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        """Of what is shown, one query asks for the secrets."""
        if args:
            shown = args[0] if kwargs.get("many") else [args[0]]
            found = with_secrets(row.pk for row in shown)
            kwargs["context"] = self.get_serializer_context() | {"with_secrets": found}
        return super().get_serializer(*args, **kwargs)

    @extend_schema(
        parameters=[MessagesInput, *PAGING],
        responses=PlacedMessageOutput(many=True),
        filters=False,
    )
    @action(detail=True, pagination_class=ReadingOrder, filter_backends=[])
    def messages(self, request: Request, pk: str) -> Response:
        """The conversation's messages."""
        values = given(MessagesInput, request.query_params)
        if values["order"] == LATEST:
            self.pagination_class = LatestFirst
        with acting_as(self.user_id):
            conversation = self._conversation(pk)
            placements = placements_wanted(conversation, values).with_age()
            page = (
                self.paginate_queryset(
                    placements.select_related("segment", "message__conversation")
                )
                or []
            )
            revisions = latest_revisions(row.message_id for row in page)
            context = shown_in(revisions, revealed=are_revealed(request))
            output = PlacedMessageOutput(page, many=True, context=context)  # type: ignore[arg-type]  # the stubs know no many=True
            return self.get_paginated_response(output.data)

    @extend_schema(parameters=[SecretsInput], responses=BranchPointOutput(many=True), filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def branches(self, request: Request, pk: str) -> Response:
        """Where the conversation branches: prompts that were edited, answers given again."""
        revealed = are_revealed(request)
        with acting_as(self.user_id):
            points = branches_in(self._conversation(pk)).points
            first = [option.message for point in points for option in point.options]
            texts = {
                message: text_shown(revision, revealed=revealed)
                for message, revision in latest_revisions(first).items()
            }
        output = BranchPointOutput(points, many=True, context={"texts": texts})  # type: ignore[arg-type]  # the stubs know no many=True
        return Response(output.data)

    @extend_schema(parameters=[SecretsInput], responses=ConversationStatisticsOutput, filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def statistics(self, request: Request, pk: str) -> Response:
        """Figures of the conversation: messages, exports, savings, tokens and tools."""
        context = {"revealed": are_revealed(request)}
        with acting_as(self.user_id):
            found = conversation_statistics(self._conversation(pk))
        return Response(ConversationStatisticsOutput(found, context=context).data)

    @extend_schema(parameters=[SecretsInput], responses=GapsOutput, filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def gaps(self, request: Request, pk: str) -> Response:
        """What the exports of the conversation leave out."""
        context = {"revealed": are_revealed(request)}
        with acting_as(self.user_id):
            found = conversation_gaps(self._conversation(pk))
        return Response(GapsOutput(found, context=context).data)

    @extend_schema(parameters=[SecretsInput], responses=LogOutput(many=True), filters=False)
    @action(detail=True, pagination_class=NewestFirst, filter_backends=[])
    def log(self, request: Request, pk: str) -> Response:
        """What each import added to the conversation and saved, the latest first."""
        context = {"revealed": are_revealed(request)}
        with acting_as(self.user_id):
            lines = log_of(self._conversation(pk)).select_related("import_row")
            page = self.paginate_queryset(lines)
            return self.get_paginated_response(LogOutput(page, many=True, context=context).data)

    @extend_schema(parameters=[ExportInput], responses=DOCUMENT, filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def export(self, request: Request, pk: str) -> FileResponse:
        """The conversation as a document to keep."""
        values = given(ExportInput, request.query_params)
        form, branch = Form(values["form"]), values["branch"]
        with acting_as(self.user_id):
            conversation = self._conversation(pk)
            # The whole of a long conversation is read.
            lift_time_limit()
            pieces = render_conversation(
                conversation, form, branch=branch, revealed=are_revealed(request)
            )
            document = written(pieces)
            name = file_name(conversation, form)
        self.note(SecurityKind.DATA_EXPORTED, form=form)
        return download(document, name=name, content_type=form.content_type)

    def _conversation(self, pk: str) -> Conversation:
        """What is asked of a conversation that is a part of another one is answered of that."""
        found = get_object_or_404(self.get_queryset().select_related("merged_into"), pk=pk)
        return found.whole


class WholeArchiveViewSet(ArchiveViewSet):
    """The archive of the person who asks, as a whole."""

    @extend_schema(responses=ArchiveStatisticsOutput)
    @action(detail=False, pagination_class=None, filter_backends=[])
    def statistics(self, request: Request) -> Response:
        """What the archive holds, and what de-duplication saved."""
        with acting_as(self.user_id):
            found = archive_statistics(self.user_id)
        return Response(ArchiveStatisticsOutput(found).data)

    @extend_schema(responses=IntegrityOutput)
    @action(detail=False, pagination_class=None, filter_backends=[])
    def integrity(self, request: Request) -> Response:
        """Whether the archive's counts, indexes, positions and watermarks agree."""
        problems = integrity_problems(self.user_id)
        return Response(IntegrityOutput({"valid": not problems, "problems": problems}).data)


@extend_schema_view(retrieve=extend_schema(parameters=[SecretsInput]))
class MessageViewSet(ReadMixin, ArchiveViewSet):
    """Messages of the archive, found by their words."""

    queryset = Message.objects.none()
    serializer_class = MessageDetailOutput
    filter_backends = []

    def get_queryset(self) -> QuerySet[Message]:
        messages = Message.objects.visible_to(self.user_id).select_related("conversation")
        return messages.prefetch_related("revisions")

    @extend_schema(
        parameters=[SearchInput, *PAGING],
        responses=SearchHitOutput(many=True),
    )
    def list(self, request: Request) -> Response:
        """Find words in messages; the best matches come first."""
        given = SearchInput(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = dict(given.validated_data)
        del values["secrets"]
        filters = SearchFilters(words=values.pop("q"), **values)
        size = page_size_of(request)
        with acting_as(self.user_id):
            hits = search_messages(filters, most=size + 1, after=_after(request))
            more, hits = len(hits) > size, hits[:size]
            revisions = {hit.message.pk: hit.revision for hit in hits}
            context = shown_in(revisions, revealed=are_revealed(request))
            output = SearchHitOutput(hits, many=True, context=context)  # type: ignore[arg-type]  # the stubs know no many=True
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
