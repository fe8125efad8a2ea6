"""Making an invite on the strength of a third-party invite, whoever's server is asked to.

https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

from federation import federation
from homeserver.errors import BadState, RemoteError, RemoteRefused
from homeserver.protocol.ids import server_of
from homeserver.rooms.head import Proposal
from homeserver.server import Server


async def issue(server: Server, room_id: str, proposal: Proposal) -> None:
    """Adds the invite to a room that this server is in, signed by the invited user's server too.

    Raises Forbidden where the room's rules do not allow it, and BadState where that server does not sign.
    """
    event, shown = await server.rooms.propose(room_id, proposal)
    event = await server.rooms.endorsed(room_id, event)
    destination = server_of(proposal.state_key or "")
    if destination != server.config.server_name:
        state = [each.pdu for each in shown]
        try:
            event = await federation.of(server).rooms.invite(destination, event, event.version, state)
        except RemoteRefused as error:
            raise BadState(f"{destination} refused the invite: {error.message}") from error
        except RemoteError as error:
            raise BadState(f"{destination} did not take the invite.") from error
    await server.incoming.accept(room_id, event)
