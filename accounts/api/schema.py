from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from accounts.api.permissions import HasLogin

PERSONAL, LOGIN = "personalAccessToken", "accessToken"


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself by being a subclass
    """Two kinds of credential in one header; some operations take one of them only."""

    target_class = "accounts.api.authentication.TokenAuthentication"
    name = [PERSONAL, LOGIN]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": "A personal access token (`cp_…`), within the scopes it was given",
            },
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The access token of a login: `meta.access_token`",
            },
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        permissions = auto_schema.view.get_permissions()
        if any(isinstance(permission, HasLogin) for permission in permissions):
            return [{LOGIN: []}]
        return [{PERSONAL: []}, {LOGIN: []}]
