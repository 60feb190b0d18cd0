from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = "Audit"
    default = True

    def ready(self) -> None:
        from audit import privacy  # noqa: PLC0415 - needs the models

        privacy.register_privacy()


class HouseSiteConfig(admin_apps.AdminConfig):
    """Django's admin, with our site."""

    default_site = "audit.site.HouseSite"
    default = False
