"""PostgreSQL and Redis for one checkout, without anything installed but Python.

The lowest layer of the project: it knows nothing of Django and needs only psutil.
"""

from embedded.errors import EmbeddedServiceError
from embedded.services import Services

__all__ = ["EmbeddedServiceError", "Services"]
