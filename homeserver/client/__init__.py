"""The client-server API: importing this package declares all its endpoints.

https://spec.matrix.org/v1.19/client-server-api/

One import line for each file, one file for each part of the specification's description.
"""

from homeserver.client import account_data as account_data
from homeserver.client import filter as filter
from homeserver.client import presence as presence
from homeserver.client import profile as profile
from homeserver.client import read_markers as read_markers
from homeserver.client import receipts as receipts
from homeserver.client import tags as tags
from homeserver.client import typing as typing
