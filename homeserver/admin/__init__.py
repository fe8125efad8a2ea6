"""Administration: importing this package declares its endpoints, on the paths that tools already know."""

from homeserver.admin import event_reports as event_reports
from homeserver.admin import register as register
from homeserver.admin import registration_tokens as registration_tokens
from homeserver.admin import server_notices as server_notices
