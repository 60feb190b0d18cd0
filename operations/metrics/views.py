from secrets import compare_digest

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from common.api.errors import problem_response
from operations.metrics.families import Families


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Everything that is measured, for Prometheus; nothing without METRICS_TOKEN."""
    if not settings.METRICS_TOKEN:
        raise Http404
    expected = f"Bearer {settings.METRICS_TOKEN}"
    if not compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        answer = problem_response(
            401, "not_authenticated", "Metrics are asked for with METRICS_TOKEN as a bearer token."
        )
        answer["WWW-Authenticate"] = "Bearer"
        return answer
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(Families()), content_type=content_type)
