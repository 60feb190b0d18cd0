"""The routes of the live process."""

from django.urls import path

from common.health import healthz
from dedup.api.events import import_events

handler400 = "common.api.errors.bad_request"
handler403 = "common.api.errors.forbidden"
handler404 = "common.api.errors.not_found"
handler500 = "common.api.errors.server_error"

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("api/v1/imports/<uuid:import_id>/events/", import_events, name="import-events"),
]
