from typing import Any

from django.apps import AppConfig
from django.core import checks


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Before any model is loaded, of whichever app.
        from accounts.identity.addresses import seal_addresses  # noqa: PLC0415

        seal_addresses()

    def ready(self) -> None:
        from accounts import events  # noqa: PLC0415 - needs the apps
        from accounts.api import schema  # noqa: F401, PLC0415 - registers the scheme
        from accounts.consents.checks import check_consents  # noqa: PLC0415
        from accounts.data_keys import DataKeys  # noqa: PLC0415 - needs the models
        from accounts.idempotency import RecordedAnswers  # noqa: PLC0415
        from accounts.identity import passkeys, receivers  # noqa: PLC0415 - needs the models
        from accounts.privacy import register_privacy  # noqa: PLC0415
        from accounts.stores.checks import check_stores  # noqa: PLC0415
        from common.encryption import data_keys  # noqa: PLC0415
        from common.idempotency import register_store  # noqa: PLC0415

        register_store(RecordedAnswers())
        data_keys.register_store(DataKeys())
        checks.register(check_consents)
        checks.register(check_stores)
        events.report()
        receivers.connect()
        passkeys.accept_our_origins()
        register_privacy()
