"""How requests come to the API server: by a client of `kubernetes.aio`, or in a pod by its service account alone."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from gristmill.coordination.errors import Denied
from gristmill.coordination.login import Login

#: seconds after which a token is read again: the kubelet writes another one long before it runs out
_TOKEN_SECONDS = 60.0


class Connection(Protocol):
    """A way to the API server. It raises what aiohttp does, and returns refusals as they are."""

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request with a body that is written as JSON, and return the response."""
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...


class ByClient:
    """A client of `kubernetes.aio`: it knows kube configs, and the many ways to log in there.

    `login` logs in anew: tokens run out. Where that takes longer than an answer may, TimeoutError says so; where it
    has failed, and the API server lets nobody in without it, Denied.
    """

    def __init__(self, client: Any, login: Login | None = None) -> None:
        self._client = client
        self._login = login
        # (the session is made when it is first used)
        known = client.configuration.client_session_kwargs or {}
        client.configuration.client_session_kwargs = {**known, "middlewares": (_send_once,)}

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """See `Connection`."""
        if self._login is not None:
            self._login.look()
        token, seconds = self._token(), timeout.total or timeout.sock_connect
        try:
            response = await self._send(method, path, headers, body, timeout)
        except ValueError as error:
            # (of a token with what no header may have; a certificate that is not believed is a ValueError, too)
            if isinstance(error, (aiohttp.ClientError, OSError)) or not await self._has_other(token, seconds):
                raise
            return await self._send(method, path, headers, body, timeout)
        if response.status == HTTPStatus.UNAUTHORIZED or (
            response.status == HTTPStatus.FORBIDDEN and self._is_anonymous()
        ):
            try:
                has_other = await self._has_other(token, seconds)
                if self._login is not None and self._is_anonymous():
                    raise Denied(
                        f"the kube config's login failed: {self._login.failure} (and the API server does not let "
                        "those who have not logged in)"
                    )
            except BaseException:
                response.close()
                raise
            if has_other:
                response.release()
                response = await self._send(method, path, headers, body, timeout)
        return response

    async def close(self) -> None:
        """See `Connection`."""
        if self._login is not None:
            await self._login.close()
        await self._client.close()

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        known = dict(headers)
        await self._client.update_params_for_auth(known, [], ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path
        answer = await self._client.call_api(method, url, known, body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    def _token(self) -> str | None:
        token: str | None = self._client.configuration.api_key.get("BearerToken")
        return token

    def _is_anonymous(self) -> bool:
        """Return whether requests are nobody's, since the login failed: what they may not says nothing of rights."""
        return self._token() is None and self._login is not None and self._login.failure is not None

    async def _has_other(self, token: str | None, seconds: float | None) -> bool:
        """Return whether there is another token now than one that was refused; log in anew if there may be."""
        for _ in range(2):  # (the first may only wait for what was begun ahead of time, and brings the same)
            if self._login is not None and self._token() == token:
                await self._login.renew(seconds)
        return self._token() != token


class InPod:
    """The service account of the pod that the program runs in; it takes no package but aiohttp."""

    def __init__(self, folder: Path) -> None:
        host, port = (os.environ[f"KUBERNETES_SERVICE_{part}"] for part in ("HOST", "PORT"))
        self._address = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._token_file = folder / "token"
        self._token = ""
        self._read_at = 0.0
        tls = ssl.create_default_context(cafile=folder / "ca.crt")
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # (Python 3.13 refuses what many a cluster's CA has made)
        # (each who waits for a lock has a watch open)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0), middlewares=(_send_once,)
        )

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """See `Connection`."""
        if not self._token or time.monotonic() >= self._read_at + _TOKEN_SECONDS:
            self._read_token()
        response = await self._send(method, path, headers, body, timeout)
        if response.status == HTTPStatus.UNAUTHORIZED and self._read_token():
            response.release()
            response = await self._send(method, path, headers, body, timeout)
        return response

    async def close(self) -> None:
        """See `Connection`."""
        await self._session.close()

    def _read_token(self) -> bool:
        """Read the token; return whether it is another one."""
        before, self._read_at = self._token, time.monotonic()
        self._token = self._token_file.read_text(encoding="utf-8").strip()
        return self._token != before

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            method,
            self._address + path,
            headers={**headers, "Authorization": f"Bearer {self._token}"},
            data=None if body is None else json.dumps(body),
            timeout=timeout,
        )


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Let a deletion whose connection was lost fail: aiohttp would send it again, and tell what that has met."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method != "DELETE":
            raise
        raise aiohttp.ClientConnectionError(str(error)) from error
