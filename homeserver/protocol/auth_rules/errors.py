"""What the authorisation rules raise."""


class AuthError(Exception):
    """The rules do not allow the event; the message is the reason, fit for a client to read."""


class Malformed(AuthError):
    """Nobody may send it, whatever their power: the content is not what the rules can work with."""
