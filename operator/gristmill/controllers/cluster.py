"""The API server in the words that the operator needs: objects are dicts, as the reconcilers make and read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientError

from gristmill.api.names import API_VERSION, CACHE_PLURAL, FILE_VOLUME_PLURAL, PLURAL
from gristmill.controllers.failpoints import reach

#: seconds that an answer may take
_TIMEOUT = 15
#: where objects of a kind are: prefix of the path, plural
_PATHS = {
    "ChunkJob": (f"/apis/{API_VERSION}", PLURAL),
    "Cache": (f"/apis/{API_VERSION}", CACHE_PLURAL),
    "FileVolume": (f"/apis/{API_VERSION}", FILE_VOLUME_PLURAL),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Namespace": ("/api/v1", "namespaces"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "Workload": ("/apis/kueue.x-k8s.io/v1beta2", "workloads"),
}
#: parts of an object that it gets back where somebody has changed them
_MENDED = ("data", "subjects")
_MERGE = "application/merge-patch+json"
_TEST = "application/json-patch+json"


class ApiError(Exception):
    """The API server refused: `status` is the HTTP status, the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


#: what a call may end by that was not done, or of which that is not known
NOT_DONE = (ApiError, TimeoutError, ClientError)


class NameTaken(ApiError):  # noqa: N818
    """The name of an object that is to be made is that of somebody else's."""


class Gone(Exception):  # noqa: N818
    """The object that was to be changed is not there any more; its name may be another's."""


class Outdated(Exception):  # noqa: N818
    """The object that was to be changed has changed meanwhile: what was decided about it is to be decided again."""


class Cluster:
    """Calls to the API server. Writes are counted by verb and kind."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.writes: Counter[tuple[str, str]] = Counter()
        #: is told of the kind and the new state of each object that was written
        self.on_written: Callable[[str, dict[str, Any]], None] = lambda kind, found: None
        #: is told of kind, namespace, name and uid of each object that was to be written and is gone
        self.on_gone: Callable[[str, str, str, str], None] = lambda kind, namespace, name, uid: None

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None."""
        try:
            return await self._call("GET", _path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: str, namespace: str = "", **selectors: str) -> list[dict[str, Any]]:
        """Return the objects of a namespace ("": of all) that fit `labelSelector` and `fieldSelector`."""
        found = await self._call("GET", f"{_path(kind, namespace)}?{urlencode(selectors)}")
        return list(found["items"])

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """Make an object; what is there and has the same owner gets its labels, and `data` or `subjects`, back.

        None when it is there and has no owner. NameTaken when another has its name.
        """
        kind, namespace = manifest["kind"], manifest["metadata"]["namespace"]
        owned = "ownerReferences" in manifest["metadata"]
        try:
            return await self._write("POST", kind, _path(kind, namespace), manifest)
        except ApiError as error:
            # (a quota is asked before the name is: it refuses what is there already, too)
            if error.status != 409 and not (error.status == 403 and owned):
                raise
            refusal = error
        if not owned:
            return None
        try:
            return await self._renew(manifest)
        except ApiError as error:
            raise refusal if error.status == 404 else error from None

    async def _renew(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Do it in one patch that begins with a test: so it needs no right to read, and changes nothing of others."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        uid = metadata["ownerReferences"][0]["uid"]
        body = [
            {"op": "test", "path": "/metadata/ownerReferences/0/uid", "value": uid},
            {"op": "add", "path": "/metadata/labels", "value": metadata["labels"]},
        ]
        body += [
            {"op": "add", "path": f"/{part}", "value": manifest[part]} for part in _MENDED if part in manifest
        ]
        try:
            return await self._write(
                "PATCH", kind, _path(kind, metadata["namespace"], metadata["name"]), body, _TEST
            )
        except ApiError as error:
            if error.status not in (400, 422):
                raise
            raise NameTaken(
                409, f"{kind} {metadata['name']} is somebody else's: delete it, or use another name"
            ) from None

    async def patch(
        self, kind: str, namespace: str, name: str, body: dict[str, Any], *, uid: str = ""
    ) -> dict[str, Any]:
        """Merge `body` into the object with this uid ("": whichever has the name). Gone where there is none."""
        body = _with_uid(body, uid)
        return await self._change("PATCH", kind, namespace, name, uid, body=body, content=_MERGE)

    async def patch_status(
        self, kind: str, resource: dict[str, Any], status: dict[str, Any]
    ) -> dict[str, Any]:
        """Merge a status into that of a resource. Gone where it is not there, Outdated where it has changed.

        By its version, for the API server passes over a uid in a status: this must not be that of the next of the name.
        """
        metadata = resource["metadata"]
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        sub = "/status?fieldValidation=Strict"
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        return await self._change("PATCH", kind, namespace, name, uid, body=body, content=_MERGE, sub=sub)

    async def delete(
        self, kind: str, namespace: str, name: str, *, uid: str, version: str = "", grace: int | None = None
    ) -> None:
        """Delete the object with this uid; what it owns goes too. Nothing happens where there is none.

        With a `version`: Outdated where it has changed.
        """
        conditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        body: dict[str, Any] = {"propagationPolicy": "Background", "preconditions": conditions}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        with suppress(Gone):
            await self._change("DELETE", kind, namespace, name, uid, body=body)

    async def _change(
        self,
        method: str,
        kind: str,
        namespace: str,
        name: str,
        uid: str,
        *,
        body: dict[str, Any],
        content: str = "application/json",
        sub: str = "",
    ) -> dict[str, Any]:
        what = kind + sub.partition("?")[0]
        try:
            return await self._write(method, what, _path(kind, namespace, name) + sub, body, content)
        except ApiError as error:
            if error.status == 404 or _is_anothers(error):
                self.on_gone(kind, namespace, name, uid)
                raise Gone(f"{kind} {name} is gone: {error}") from None
            if error.status == 409:
                raise Outdated(f"{kind} {name} has changed: {error}") from None
            raise

    async def _write(
        self, method: str, kind: str, path: str, body: Any, content: str = "application/json"
    ) -> dict[str, Any]:
        self.writes[method, kind] += 1
        answer = await self._call(method, path, body, content)
        reach(f"{method} {kind}")
        if method != "DELETE":
            self.on_written(kind.removesuffix("/status"), answer)
        return answer

    async def _call(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": content}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path
        response = await self._client.call_api(method, url, headers, body, _request_timeout=_TIMEOUT)
        data = await response.read()
        if response.status >= 400:
            raise ApiError(response.status, _message(data, response.status))
        answer: dict[str, Any] = json.loads(data)
        return answer


def _path(kind: str, namespace: str, name: str = "") -> str:
    prefix, plural = _PATHS[kind]
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{place}/{plural}" + (f"/{name}" if name else "")


def _with_uid(body: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return a patch that the API server refuses where the object has another uid."""
    return {**body, "metadata": {**body.get("metadata", {}), "uid": uid}} if uid else body


def _is_anothers(error: ApiError) -> bool:
    """Whether a write was refused because the name is that of an object with another uid, now."""
    words = {409: "UID in precondition", 422: "metadata.uid"}.get(error.status)
    return words is not None and words in str(error)


def _message(data: bytes, status: int) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {status}"
