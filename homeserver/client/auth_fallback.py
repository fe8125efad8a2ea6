"""Pages that do an authentication stage for clients that do not know it.

https://spec.matrix.org/v1.19/client-server-api/#fallback

The client opens the page for its session, and repeats its request with nothing but the session once
the page tells it to (`window.onAuthDone`, or a message to the window that opened it).
"""

from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from homeserver.accounts.uia import DUMMY, REGISTRATION_TOKEN
from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.http.endpoint import OPEN, HttpRequest, Query, Request, Response, get, post
from homeserver.server import Server

_PATH = "/_matrix/client/v3/auth/{stage}/fallback/web"
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Hearth</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:1rem/1.5 sans-serif;max-width:28rem;margin:4rem auto;padding:0 1rem}
input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.25rem 0}</style></head>
<body>"""
_DONE = _FRAME + """<h1>Thank you</h1><p>You may close this window and return to your app.</p><script>
if (window.onAuthDone) { window.onAuthDone(); }
else if (window.opener && window.opener.postMessage) { window.opener.postMessage("authDone", "*"); }
</script></body></html>"""
_ASK = {
    DUMMY: "<p>Please confirm that you want to go on.</p>",
    REGISTRATION_TOKEN: '<p>Please enter the registration token that you were given.</p>'
    '<input name="token" autofocus autocomplete="off" maxlength="64" aria-label="Registration token">',
}


class Fallback(Request, kw_only=True):
    stage: str
    session: Annotated[str, Query()] = ""


@get(_PATH, auth=OPEN, rate="uia_fallback")
def fallback_page(server: Server, req: Fallback) -> Response:
    session = server.uia.find(req.session)
    _require(req.stage, session is not None)
    return _page(req.stage, req.session, "")


@post(_PATH, auth=OPEN, rate="uia_fallback", raw=True)
async def fallback_submit(server: Server, http: HttpRequest, req: Fallback) -> Response:
    form = parse_qs(http.body.decode("utf-8", "replace"))
    session_id = form.get("session", [req.session])[0]
    session = server.uia.find(session_id)
    _require(req.stage, session is not None)
    assert session is not None
    try:
        await server.uia.complete(session, {"type": req.stage, "token": form.get("token", [""])[0]})
    except MatrixError as error:
        return _page(req.stage, session_id, error.message)
    return Response(200, _DONE.encode(), _HEADERS)


def _require(stage: str, session_is_known: bool) -> None:
    if stage not in _ASK:
        raise NotFound("There is no page for this stage.")
    if not session_is_known:
        raise InvalidParam("The authentication session is not known.")


def _page(stage: str, session_id: str, problem: str) -> Response:
    page = (
        f"{_FRAME}<h1>Authentication</h1><p role='alert'>{escape(problem)}</p><form method='post'>"
        f"<input type='hidden' name='session' value='{escape(session_id)}'>{_ASK[stage]}"
        "<button>Continue</button></form></body></html>"
    )
    return Response(200, page.encode(), _HEADERS)
