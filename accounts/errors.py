from common.errors import ConflictError, InvalidInputError, NotFoundError


class UsernameTakenError(ConflictError):
    code = "username_taken"
    title = "This username is taken"


class WeakPasswordError(InvalidInputError):
    code = "weak_password"
    title = "The password is too weak"


class UnknownUserError(NotFoundError):
    code = "unknown_user"
    title = "There is no such user"
