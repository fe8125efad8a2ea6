"""Searching the user directory.

https://spec.matrix.org/v1.19/client-server-api/#user-directory
"""

from typing import Any

from homeserver.errors import Forbidden, InvalidParam
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class SearchUserDirectory(Request, kw_only=True):
    search_term: str
    limit: int = 10


@post("/_matrix/client/v3/user_directory/search", auth=USER, rate="user_directory")
async def search_user_directory(
    server: Server, me: Requester, req: SearchUserDirectory
) -> dict[str, Any]:
    if req.limit < 0:
        raise InvalidParam("The limit must not be negative.")
    if server.user_directory is None:
        raise Forbidden("This server has no user directory.")
    people, limited = await server.user_directory.find(me.user_id, req.search_term, req.limit)
    results = []
    for person in people:
        result = {"user_id": person.user_id}
        if person.display_name is not None:
            result["display_name"] = person.display_name
        if person.avatar_url is not None:
            result["avatar_url"] = person.avatar_url
        results.append(result)
    return {"results": results, "limited": limited}
