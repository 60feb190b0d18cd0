from common.errors import ConflictError, InvalidInputError


class UnknownFormatError(InvalidInputError):
    code = "unknown_format"
    title = "The file is in no known format"
    status = 422


class FileChangedError(ConflictError):
    code = "file_changed"
    title = "The file changed while it was read"


class UnreadableFileError(InvalidInputError):
    code = "unreadable_file"
    title = "The file cannot be read"


class MissingArtifactError(ConflictError):
    code = "missing_artifact"
    title = "The stored bytes of the file are gone"
