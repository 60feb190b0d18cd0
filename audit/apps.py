from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = "Audit"
    default = True


class HouseSiteConfig(admin_apps.AdminConfig):
    """Django's admin, with our site."""

    default_site = "audit.site.HouseSite"
    default = False
