from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from accounts import events  # noqa: PLC0415 - needs the apps
        from accounts.api import schema  # noqa: F401, PLC0415 - registers the scheme
        from accounts.idempotency import RecordedAnswers  # noqa: PLC0415 - needs the models
        from common.idempotency import register_store  # noqa: PLC0415

        register_store(RecordedAnswers())
        events.report()
