"""The server-server API: importing this package declares all its endpoints.

https://spec.matrix.org/v1.19/server-server-api/

One import line for each file, one file for each part of the specification's description.
"""

from federation.server import backfill as backfill
from federation.server import event_auth as event_auth
from federation.server import events as events
from federation.server import invites as invites
from federation.server import joins as joins
from federation.server import keys_query as keys_query
from federation.server import keys_server as keys_server
from federation.server import knocks as knocks
from federation.server import leaving as leaving
from federation.server import openid as openid
from federation.server import public_rooms as public_rooms
from federation.server import query as query
from federation.server import space_hierarchy as space_hierarchy
from federation.server import third_party_invite as third_party_invite
from federation.server import transactions as transactions
from federation.server import user_devices as user_devices
from federation.server import user_keys as user_keys
from federation.server import version as version
from federation.server import wellknown as wellknown
