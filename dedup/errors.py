from common.errors import ConflictError, InvalidInputError


class UnknownFormatError(InvalidInputError):
    code = "unknown_format"
    title = "The file is in no known format"
    status = 422


class UnsafeArchiveError(InvalidInputError):
    code = "unsafe_archive"
    title = "The archive is unsafe or damaged"
    status = 422


class FileChangedError(ConflictError):
    code = "file_changed"
    title = "The file changed while it was read"


class UnreadableFileError(InvalidInputError):
    code = "unreadable_file"
    title = "The file cannot be read"


class ArchiveBusyError(ConflictError):
    code = "archive_busy"
    title = "The archive is being worked on"


class DamagedArtifactError(ConflictError):
    code = "damaged_artifact"
    title = "The stored bytes of the file are not those that came"


class MissingArtifactError(ConflictError):
    code = "missing_artifact"
    title = "The stored bytes of the file are gone"


class SeveralConversationsError(InvalidInputError):
    code = "several_conversations"
    title = "The file holds several conversations"
    status = 422
