"""Who has no rights is told which are needed; and with these everything works."""

from __future__ import annotations

import asyncio
import re
import secrets

import pytest
from tests.coordination.apiserver import NOBODY, ApiServer
from tests.coordination.conftest import store_at
from tests.protocol.harness import Server

from gristmill.coordination.aio import Client, connect
from gristmill.coordination.errors import Denied
from gristmill.coordination.port import Kind, Store
from gristmill.coordination.valkey import ValkeyStore


async def said_to(client: Client) -> list[str]:
    """Return what is said to one who may not lock or read."""
    said = []
    for call in (client.lock("l").acquire, client.lock("l", timeout=0).__aenter__, lambda: client.tree("t")):
        with pytest.raises(Denied) as caught:
            await asyncio.wait_for(call(), 20)
        said.append(str(caught.value))
    return said


async def use(store: Store) -> None:
    """Do all that a program may do."""
    async with Client(store) as client, client.lock("l") as lock:
        other = client.lock("l")
        waiting = asyncio.create_task(other.acquire())
        while not [one for one in (await store.get(Kind.LOCK, "l")).fields if "waiter" in one]:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        await lock.release()
        await waiting
        tree = await client.tree("t", seconds=5)
        await tree.set("/a", "1", token=other.token)
        await tree.create("/members/a", ephemeral=True)
        await tree.create("/queue/a-", sequential=True)
        heard = tree.watch("/b", initial=False)
        await tree.ensure("/b")
        assert (await anext(heard)).path == "/b"  # type: ignore[union-attr]
        await tree.delete("/members", recursive=True)
        await other.release()
        await lock.acquire()


def test_rights_of_a_valkey(valkey: Server) -> None:
    name, namespace = f"u{secrets.token_hex(4)}", secrets.token_hex(4)
    url = valkey.url.replace("unix://", f"unix://{name}:secret@")
    with valkey.connect() as raw:
        raw.execute_command("ACL", "SETUSER", name, "on", ">secret")

        async def whole() -> None:
            async with await connect(url, namespace=namespace) as client:
                said = await said_to(client)
            async with await connect(url.replace("secret", "wrong"), namespace=namespace) as client:
                said += await said_to(client)
            for words in said:
                assert "a user and password in the URL" in words
            rights = re.search(r"rights (.*)", said[0])[1].split()  # type: ignore[index]
            raw.execute_command("ACL", "SETUSER", name, *rights)
            await use(ValkeyStore(url, namespace))

        asyncio.run(asyncio.wait_for(whole(), 60))
        raw.execute_command("ACL", "DELUSER", name)


def test_who_may_not_read_the_log_of_a_valkey_and_waits_for_a_lock_is_told(own_valkey: Server) -> None:
    async def whole() -> None:
        async with Client(ValkeyStore(own_valkey.url, "n")) as client, client.lock("l"):
            other = client.lock("l")
            with own_valkey.connect() as raw:
                raw.execute_command("ACL", "SETUSER", "default", "-xread")
            with pytest.raises(Denied, match="a user and password in the URL"):
                await asyncio.wait_for(other.acquire(), 20)

    asyncio.run(whole())


@pytest.mark.e2e
def test_rights_of_a_cluster(api_server: ApiServer) -> None:
    namespace = api_server.make_namespace()
    config = api_server.config(NOBODY, namespace=namespace)
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"

    async def whole() -> None:
        async with Client(await store_at(config)) as client:
            said = await said_to(client)
        for words, resource in zip(said, ("leases", "leases", "configmaps"), strict=True):
            assert f'User "{NOBODY}" cannot' in words
            assert f'resource "{resource}"' in words
        named = re.search(r"needs (.*) of (\w+) \((.*)\) and (\w+) in its namespace", said[0])
        assert named is not None
        verbs = re.findall(r"(?!and\b)\w+", named[1])
        rules = [
            {"verbs": verbs, "apiGroups": [named[3]], "resources": [named[2]]},
            {"verbs": verbs, "apiGroups": [""], "resources": [named[4]]},
        ]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NOBODY}
        made = [
            api_server.call("POST", f"{group}/roles", {"metadata": {"name": "r"}, "rules": rules}),
            api_server.call(
                "POST",
                f"{group}/rolebindings",
                {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]},
            ),
        ]
        assert [status for status, _ in made] == [201, 201], made
        await use(await store_at(config))

    asyncio.run(asyncio.wait_for(whole(), 90))
