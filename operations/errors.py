from common.errors import ConflictError, DomainError, InvalidInputError, NotFoundError


class MissingLoginError(InvalidInputError):
    code = "missing_login"
    title = "A login that this needs is not configured"


class MissingProgramError(InvalidInputError):
    code = "missing_program"
    title = "A program that this needs is missing or too old"


class ProgramFailedError(DomainError):
    code = "program_failed"
    title = "A program of PostgreSQL ended with an error"
    status = 500


class UnknownBackupError(NotFoundError):
    code = "unknown_backup"
    title = "There is no such backup"


class DamagedBackupError(ConflictError):
    code = "damaged_backup"
    title = "The backup is not as it was made"


class NewerBackupError(ConflictError):
    code = "newer_backup"
    title = "The backup is of a newer version"


class BackupBusyError(ConflictError):
    code = "backup_busy"
    title = "Another backup or restore is running"


class RestoreRefusedError(ConflictError):
    code = "restore_refused"
    title = "The backup cannot be restored like this"


class RestoreFailedError(DomainError):
    code = "restore_failed"
    title = "The restored database is not the one of the backup"
    status = 500
