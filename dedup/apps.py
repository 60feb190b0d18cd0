from django.apps import AppConfig


class DedupConfig(AppConfig):
    name = "dedup"
    verbose_name = "Conversation archives"

    def ready(self) -> None:
        from dedup import events, privacy  # noqa: PLC0415 - needs the apps

        events.name_events()
        privacy.register_privacy()
