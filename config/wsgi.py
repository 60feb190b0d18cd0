"""The web process: admin and API, served by granian's WSGI workers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

# The settings and the models must be there first.
from common.encryption.checks import refuse_wrong_keys  # noqa: E402

refuse_wrong_keys()
