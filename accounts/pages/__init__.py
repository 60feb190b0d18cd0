"""Pages for people: to sign in, and to look after their account."""
