from common.errors import ConflictError


class StreamConflictError(ConflictError):
    """A file of the stream is in the way that is not what would be written."""

    code = "stream_conflict"
    title = "Another file is in the way"


class StreamBrokenError(ConflictError):
    """The files of the stream are not what they were."""

    code = "stream_broken"
    title = "The stream is broken"
