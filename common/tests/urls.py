"""Routes of tests: views that end in every kind of error, and none of our apps'."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig
from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from rest_framework import exceptions, serializers
from rest_framework.authentication import BasicAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.errors import (
    ConflictError,
    DomainError,
    FieldError,
    IdempotencyInFlightError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
)

handler404 = "common.api.errors.not_found"
handler500 = "common.api.errors.server_error"

FIELDS = [FieldError("pod.name", "taken", "Another pod has this name.")]


class Words(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=3)
    count = serializers.IntegerField(min_value=1)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["name"] == "bad":
            raise serializers.ValidationError("Not this one.", code="unwanted")
        return attrs


class Sentence(serializers.Serializer[Any]):
    title = serializers.CharField()
    words = Words(many=True)
    author = Words()


def refuse_by_policy() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM accounts_user")


def take_too_long() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10ms'")
        cursor.execute("SELECT pg_sleep(5)")


ERRORS: Mapping[str, Callable[[], Exception]] = {
    "domain": lambda: DomainError("It went wrong."),
    "invalid": lambda: InvalidInputError("The pod is wrong.", errors=FIELDS),
    "missing": lambda: NotFoundError("No such pod."),
    "conflict": lambda: ConflictError("The pod is archived."),
    "in_flight": lambda: IdempotencyInFlightError("Wait."),
    "key_reused": lambda: IdempotencyKeyReusedError("Choose another."),
    "http404": lambda: Http404("secret detail"),
    "no_object": lambda: ObjectDoesNotExist("secret detail"),
    "denied": lambda: PermissionDenied("secret detail"),
    "malformed": exceptions.ParseError,
    "authentication_failed": exceptions.AuthenticationFailed,
    "not_authenticated": exceptions.NotAuthenticated,
    "permission_denied": lambda: exceptions.PermissionDenied("This needs a scope."),
    "not_found": exceptions.NotFound,
    "not_acceptable": exceptions.NotAcceptable,
    "media_type": lambda: exceptions.UnsupportedMediaType("text/csv"),
    "throttled": lambda: exceptions.Throttled(wait=12.3),
    "throttled_forever": exceptions.Throttled,
    "too_large": lambda: RequestDataTooBig("secret detail"),
    "unexpected": lambda: RuntimeError("secret detail"),
}


class FailingView(APIView):
    authentication_classes = [BasicAuthentication]
    permission_classes = ()

    def get(self, request: Request, kind: str) -> Response:
        if kind == "policy":
            refuse_by_policy()
        if kind == "too_slow":
            take_too_long()
        error = ERRORS[kind]()
        raise error


class SentenceView(APIView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        sentence = Sentence(data=request.data)
        sentence.is_valid(raise_exception=True)
        return Response(sentence.validated_data)


def echo(request: HttpRequest, word: str) -> HttpResponse:
    return HttpResponse(json.dumps(word), content_type="application/json")


urlpatterns = [
    # Pages lead back to it.
    path("", lambda _: HttpResponse(), name="site"),
    path("api/fail/<str:kind>", FailingView.as_view()),
    path("sentence", SentenceView.as_view()),
    path("echo/<str:word>", echo),
]
