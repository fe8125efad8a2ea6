"""The client-server API: importing this package declares all its endpoints.

https://spec.matrix.org/v1.19/client-server-api/

One import line for each file, one file for each part of the specification's description.
"""

from homeserver.client import account_data as account_data
from homeserver.client import account_deactivation as account_deactivation
from homeserver.client import admin as admin
from homeserver.client import administrative_contact as administrative_contact
from homeserver.client import auth_fallback as auth_fallback
from homeserver.client import banning as banning
from homeserver.client import capabilities as capabilities
from homeserver.client import create_room as create_room
from homeserver.client import cross_signing as cross_signing
from homeserver.client import dehydrated_devices as dehydrated_devices
from homeserver.client import delayed_events as delayed_events
from homeserver.client import device_management as device_management
from homeserver.client import directory as directory
from homeserver.client import event_context as event_context
from homeserver.client import filter as filter
from homeserver.client import inviting as inviting
from homeserver.client import joining as joining
from homeserver.client import key_backup as key_backup
from homeserver.client import keys as keys
from homeserver.client import kicking as kicking
from homeserver.client import knocking as knocking
from homeserver.client import leaving as leaving
from homeserver.client import list_joined_rooms as list_joined_rooms
from homeserver.client import list_public_rooms as list_public_rooms
from homeserver.client import login as login
from homeserver.client import login_token as login_token
from homeserver.client import logout as logout
from homeserver.client import message_pagination as message_pagination
from homeserver.client import mutual_rooms as mutual_rooms
from homeserver.client import notifications as notifications
from homeserver.client import old_sync as old_sync
from homeserver.client import openid as openid
from homeserver.client import password_management as password_management
from homeserver.client import policy_server as policy_server
from homeserver.client import presence as presence
from homeserver.client import profile as profile
from homeserver.client import pushrules as pushrules
from homeserver.client import read_markers as read_markers
from homeserver.client import receipts as receipts
from homeserver.client import redaction as redaction
from homeserver.client import refresh as refresh
from homeserver.client import registration as registration
from homeserver.client import registration_tokens as registration_tokens
from homeserver.client import relations as relations
from homeserver.client import rendezvous as rendezvous
from homeserver.client import rendezvous_etag as rendezvous_etag
from homeserver.client import report_content as report_content
from homeserver.client import room_event_by_timestamp as room_event_by_timestamp
from homeserver.client import room_initial_sync as room_initial_sync
from homeserver.client import room_send as room_send
from homeserver.client import room_state as room_state
from homeserver.client import room_summary as room_summary
from homeserver.client import room_upgrades as room_upgrades
from homeserver.client import rooms as rooms
from homeserver.client import search as search
from homeserver.client import sliding_sync as sliding_sync
from homeserver.client import space_hierarchy as space_hierarchy
from homeserver.client import support as support
from homeserver.client import sync as sync
from homeserver.client import tags as tags
from homeserver.client import thread_subscriptions as thread_subscriptions
from homeserver.client import threads_list as threads_list
from homeserver.client import to_device as to_device
from homeserver.client import typing as typing
from homeserver.client import users as users
from homeserver.client import versions as versions
from homeserver.client import voip as voip
from homeserver.client import wellknown as wellknown
from homeserver.client import whoami as whoami
