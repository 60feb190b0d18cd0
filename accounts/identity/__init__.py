"""The doors through which people come in: django-allauth, fitted to this house."""
