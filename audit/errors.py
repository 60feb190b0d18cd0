from common.errors import DomainError


class StreamConflictError(DomainError):
    """A file of the stream is in the way that is not what would be written."""

    status = 409
    code = "stream_conflict"
    title = "Another file is in the way"


class StreamBrokenError(DomainError):
    """The files of the stream are not what they were."""

    status = 409
    code = "stream_broken"
    title = "The stream is broken"
