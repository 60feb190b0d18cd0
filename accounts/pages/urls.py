from django.urls import include, path

from accounts.pages.views import access_tokens, consents, home, privacy, sessions

urlpatterns = [
    path("", home.show_home, name="account-home"),
    path("profile/", home.edit_profile, name="account-profile"),
    path("subscription/", home.show_subscription, name="account-subscription"),
    path("sessions/", sessions.list_sessions, name="account-sessions"),
    path(
        "sessions/revoke-others/",
        sessions.revoke_others,
        name="account-sessions-revoke-others",
    ),
    path("sessions/<uuid:session_id>/revoke/", sessions.revoke, name="account-session-revoke"),
    path("consents/", consents.list_consents, name="account-consents"),
    path("consents/<str:kind>/", consents.show_document, name="account-consent"),
    path("consents/<str:kind>/accept/", consents.accept_consent, name="account-consent-accept"),
    path("consents/<str:kind>/withdraw/", consents.withdraw, name="account-consent-withdraw"),
    path("tokens/", access_tokens.list_tokens, name="account-tokens"),
    path("tokens/new/", access_tokens.create, name="account-token-new"),
    path("tokens/<uuid:token_id>/revoke/", access_tokens.revoke, name="account-token-revoke"),
    path("privacy/", privacy.show_privacy, name="account-privacy"),
    path("privacy/export/", privacy.export, name="account-export"),
    path(
        "privacy/export/<uuid:export_id>/download/",
        privacy.download,
        name="account-export-download",
    ),
    path("privacy/restrict/", privacy.restrict, name="account-restrict"),
    path("privacy/lift/", privacy.lift, name="account-restriction-lift"),
    path("privacy/erasure/", privacy.erase, name="account-erasure"),
    path("privacy/erasure/cancel/", privacy.take_back_erasure, name="account-erasure-cancel"),
    path("", include("allauth.account.urls")),
    path("2fa/", include("allauth.mfa.urls")),
    path("social/", include("allauth.socialaccount.urls")),
]
