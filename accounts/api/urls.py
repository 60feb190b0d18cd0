from django.urls import path

from accounts.api.views.access_tokens import AccessTokenViewSet
from accounts.api.views.account import AccountViewSet
from accounts.api.views.activity import ActivityViewSet
from accounts.api.views.biometrics import BiometricKeyViewSet
from accounts.api.views.consents import (
    ConsentDocumentsView,
    ConsentHistoryViewSet,
    ConsentViewSet,
)
from accounts.api.views.erasures import CancellationView, ErasureViewSet, ReceiptView
from accounts.api.views.exports import ExportDownloadView, ExportViewSet
from accounts.api.views.nonces import NonceView
from accounts.api.views.preferences import PreferenceViewSet
from accounts.api.views.restrictions import RestrictionViewSet
from accounts.api.views.sessions import SessionViewSet
from accounts.api.views.subscriptions import StoreNotificationView, SubscriptionViewSet
from accounts.choices import SubscriptionProvider

urlpatterns = [
    path("consents/", ConsentViewSet.as_view({"get": "list", "post": "accept"}), name="consents"),
    path("consents/documents/", ConsentDocumentsView.as_view(), name="consent-documents"),
    path(
        "consents/history/",
        ConsentHistoryViewSet.as_view({"get": "list"}),
        name="consent-history",
    ),
    path(
        "consents/withdraw/", ConsentViewSet.as_view({"post": "withdraw"}), name="consent-withdraw"
    ),
    path("subscription/", SubscriptionViewSet.as_view({"get": "retrieve"}), name="subscription"),
    path(
        "subscription/cancel/",
        SubscriptionViewSet.as_view({"post": "cancel"}),
        name="subscription-cancel",
    ),
    path(
        "subscription/receipts/",
        SubscriptionViewSet.as_view({"post": "upgrade"}),
        name="subscription-receipts",
    ),
    *(
        path(
            f"subscription/notifications/{provider.value}/",
            StoreNotificationView.as_view(provider=provider),
            name=f"subscription-notifications-{provider.value}",
        )
        for provider in (
            SubscriptionProvider.APPLE,
            SubscriptionProvider.GOOGLE,
            SubscriptionProvider.LOCAL,
        )
    ),
    path(
        "account/",
        AccountViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="account",
    ),
    path("auth/nonce/", NonceView.as_view(), name="nonce"),
    path(
        "account/erasure/",
        ErasureViewSet.as_view({"get": "retrieve", "post": "create"}),
        name="erasure",
    ),
    path("account/erasure/cancel/", CancellationView.as_view(), name="erasure-cancel"),
    path("account/erasure/receipt/", ReceiptView.as_view(), name="erasure-receipt"),
    path(
        "account/exports/",
        ExportViewSet.as_view({"get": "list", "post": "create"}),
        name="exports",
    ),
    path("account/exports/<uuid:pk>/", ExportViewSet.as_view({"get": "retrieve"}), name="export"),
    path(
        "account/exports/<uuid:pk>/download-link/",
        ExportViewSet.as_view({"post": "download_link"}),
        name="export-download-link",
    ),
    path(
        "account/exports/download/<token>/",
        ExportDownloadView.as_view(),
        name="export-download",
    ),
    path(
        "account/restriction/",
        RestrictionViewSet.as_view({"get": "retrieve", "post": "create", "delete": "destroy"}),
        name="restriction",
    ),
    path("activity/", ActivityViewSet.as_view({"get": "list"}), name="activity"),
    path(
        "biometrics/",
        BiometricKeyViewSet.as_view({"get": "list", "post": "create"}),
        name="biometrics",
    ),
    path(
        "biometrics/<uuid:pk>/",
        BiometricKeyViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
        name="biometric",
    ),
    *(
        path(
            f"biometrics/<uuid:pk>/{verb}/",
            BiometricKeyViewSet.as_view({"post": verb}),
            name=f"biometric-{verb}",
        )
        for verb in ("challenge", "complete", "verify")
    ),
    path(
        "preferences/",
        PreferenceViewSet.as_view({"get": "show", "patch": "change"}),
        name="preferences",
    ),
    path(
        "preferences/<key>/",
        PreferenceViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
        name="preference",
    ),
    path("sessions/", SessionViewSet.as_view({"get": "list"}), name="sessions"),
    path(
        "sessions/revoke-others/",
        SessionViewSet.as_view({"post": "revoke_others"}),
        name="sessions-revoke-others",
    ),
    path("sessions/<uuid:pk>/", SessionViewSet.as_view({"get": "retrieve"}), name="session"),
    path(
        "sessions/<uuid:pk>/revoke/",
        SessionViewSet.as_view({"post": "revoke"}),
        name="session-revoke",
    ),
    path("tokens/", AccessTokenViewSet.as_view({"get": "list", "post": "create"}), name="tokens"),
    path(
        "tokens/revoke-all/",
        AccessTokenViewSet.as_view({"post": "revoke_all"}),
        name="tokens-revoke-all",
    ),
    path("tokens/<uuid:pk>/", AccessTokenViewSet.as_view({"get": "retrieve"}), name="token"),
    path(
        "tokens/<uuid:pk>/revoke/",
        AccessTokenViewSet.as_view({"post": "revoke"}),
        name="token-revoke",
    ),
]
