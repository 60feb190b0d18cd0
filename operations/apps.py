from django.apps import AppConfig
from django.contrib import admin


class OperationsConfig(AppConfig):
    name = "operations"
    verbose_name = "Operations"

    def ready(self) -> None:
        from operations import erasures, stream  # noqa: PLC0415 - needs the models
        from operations.backups.restoring import AFTER_RESTORE  # noqa: PLC0415

        AFTER_RESTORE.append(stream.go_on)
        # Once what it does is told to the stream.
        AFTER_RESTORE.append(erasures.replay)
        admin.site.index_template = "admin/dashboard.html"
