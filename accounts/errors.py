from common.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError


class UsernameTakenError(ConflictError):
    code = "username_taken"
    title = "This username is taken"


class WeakPasswordError(InvalidInputError):
    code = "weak_password"
    title = "The password is too weak"


class UnknownUserError(NotFoundError):
    code = "unknown_user"
    title = "There is no such user"


class LoginRequiredError(RefusedError):
    """A personal access token asks for what only a person who is logged in may do."""

    code = "login_required"
    title = "This needs a login"


class ReauthenticationRequiredError(RefusedError):
    code = "reauthentication_required"
    title = "This needs a fresh proof of who you are"
