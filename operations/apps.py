from django.apps import AppConfig
from django.contrib import admin


class OperationsConfig(AppConfig):
    name = "operations"
    verbose_name = "Operations"

    def ready(self) -> None:
        admin.site.index_template = "admin/dashboard.html"
