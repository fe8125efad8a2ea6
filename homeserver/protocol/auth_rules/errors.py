"""What the authorisation rules raise."""


class AuthError(Exception):
    """The rules do not allow the event; the message is the reason, fit for a client to read."""
