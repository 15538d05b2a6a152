"""The door: only who has the token comes in, and nothing of anybody else's body is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hoist.function.service.answers import Refusal, error_response
from hoist.function.service.limits import Tokens

OPEN_PATHS = ("/healthz", "/readyz", "/initialize", "/openapi.json", "/docs")
"""What anybody may ask: platforms probe without a token, and nothing there tells of the models."""
_CONTROL = "x-fc-control-path"


class Guard:
    """Lets requests through that have the token, before anything of their body is read."""

    def __init__(self, app: ASGIApp, tokens: Tokens, *, platform: bool) -> None:
        self._app, self._tokens = app, tokens
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or let the app answer."""
        if scope["type"] == "http" and not self._allowed(scope):
            refusal = Refusal(401, "unauthorized", "this needs Authorization: Bearer TOKEN", close=True)
            await error_response(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        path, headers = scope["path"], Headers(scope=scope)
        if path in OPEN_PATHS or self._tokens.allow(headers.get("authorization")):
            return True
        # Function Compute has no token for its own calls; it sets this header itself.
        return self._platform and path == "/pre-stop" and headers.get(_CONTROL) == path
