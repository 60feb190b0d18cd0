"""The routes of the web process."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from common.health import healthz, readyz
from operations.metrics.views import metrics

handler400 = "common.api.errors.bad_request"
handler403 = "common.api.errors.forbidden"
handler404 = "common.api.errors.not_found"
handler500 = "common.api.errors.server_error"

# It renders by a template, which OPTIONS has not.
docs = SpectacularSwaggerView.as_view(url_name="schema", http_method_names=["get", "head"])

api: list[URLPattern | URLResolver] = [
    path("auth/", include("accounts.identity.urls")),
    path("", include("accounts.api.urls")),
    path("", include("dedup.api.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", docs, name="docs"),
]

urlpatterns = [
    path("", TemplateView.as_view(template_name="site.html"), name="site"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.pages.urls")),
    path("api/v1/", include(api)),
]
