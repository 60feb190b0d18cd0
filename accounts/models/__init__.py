from accounts.models.access_tokens import PersonalAccessToken
from accounts.models.answers import RecordedAnswer
from accounts.models.users import User

__all__ = ["PersonalAccessToken", "RecordedAnswer", "User"]
