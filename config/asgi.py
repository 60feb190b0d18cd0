"""The live process: server-sent events, from the same code base by granian's ASGI workers."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_asgi_application()

# The settings and the models must be there first.
from common.encryption.checks import refuse_wrong_keys  # noqa: E402

refuse_wrong_keys()
