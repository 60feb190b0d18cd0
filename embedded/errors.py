class EmbeddedServiceError(Exception):
    """An embedded service cannot do what was asked; the message says what to do."""
