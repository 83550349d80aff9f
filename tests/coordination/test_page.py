"""What docs/coordination.md shows, run as it is written: its recipes, and the ways over."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until
from tests.protocol.harness import Server

from gristmill.coordination import Token, connect
from gristmill.coordination.errors import Conflict, Fenced, LockLost
from gristmill.coordination.port import Kind, Scope
from gristmill.coordination.sync import Client
from gristmill.coordination.valkey import ValkeyStore

PAGE = (Path(__file__).parents[2] / "docs" / "coordination.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def block(words: str) -> str:
    (found,) = [text for text in BLOCKS if words in text]
    return str(found)


def rows(heading: str) -> list[tuple[str, str]]:
    table = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
    return [(left, right) for left, right in cells]


@pytest.fixture
def namespace(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRISTMILL_COORDINATION", valkey.url)
    return secrets.token_hex(4)


@pytest.fixture
def client(namespace: str) -> Iterator[Client]:
    with connect(namespace=namespace) as made:
        yield made


def take_away(namespace: str, lock: str, valkey: Server) -> None:
    with valkey.connect() as raw:
        raw.hdel(f"gristmill:coordination:{{{namespace}}}:lock", lock)


def test_every_recipe_of_the_page_is_run_here() -> None:
    """One that is added has to be tried, too."""
    calls = [node for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "block"]
    tried = [eval(ast.unparse(call)) for call in named]
    assert BLOCKS
    assert set(tried) == set(BLOCKS)


def test_a_lock_by_a_context_manager(namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        exec(block("import connect"), {})
    first, second = map(int, capsys.readouterr().out.split())
    assert 0 < first < second


def test_a_function_of_a_job(namespace: str) -> None:
    place: dict[str, Any] = {"connect": lambda: connect(namespace=namespace), "call": lambda item: item + 1}
    exec(block('lock("the-one-who-calls")'), place)
    assert [place["process"](item) for item in range(3)] == [1, 2, 3]
    place["client"].close()


def test_a_write_with_a_token(client: Client) -> None:
    tree = client.tree("t")
    with client.lock("nightly") as lock:
        exec(block('tree.set("/nightly/done"'), {"tree": tree, "lock": lock})
        later = Token("nightly", lock.token.number + 1)
        tree.set("/nightly/done", "later", token=later)
        with pytest.raises(Fenced):
            exec(block("token=lock.token"), {"tree": tree, "lock": lock})


def test_the_token_of_a_program_under_gristmill_lock(client: Client, namespace: str) -> None:
    program = (
        block("GRISTMILL_LOCK_TOKEN") + "from gristmill.coordination import connect\n"
        f"with connect(namespace={namespace!r}) as client:\n"
        "    client.tree('t').set('/done', 'yes', token=token)\n"
    )
    words = ["lock", "-n", namespace, "nightly", "--", sys.executable, "-c", program]
    subprocess.run([sys.executable, "-m", "gristmill", *words], check=True, timeout=60)
    tree = client.tree("t")
    assert tree.get("/done").text == "yes"  # type: ignore[union-attr]
    with pytest.raises(Fenced):
        tree.set("/done", "no", token=Token("nightly", 0))
    with client.lock("nightly") as lock:
        tree.set("/done", "again", token=lock.token)


def test_only_one_of_many_does_it(client: Client) -> None:
    done: list[int] = []
    names = {"client": client, "clean_up": lambda: done.append(1)}
    with client.lock("cleanup"):
        exec(block("clean_up()"), dict(names))
        assert done == []
    exec(block("clean_up()"), dict(names))
    exec(block("clean_up()"), dict(names))
    assert done == [1, 1]


def test_stop_when_the_lock_is_lost(client: Client, namespace: str, valkey: Server, until: Until) -> None:
    loaded: list[tuple[str, int]] = []
    names: dict[str, Any] = {"client": client, "load": lambda batch, fence: loaded.append((batch, fence))}

    def batches() -> Iterator[str]:
        yield "first"
        yield "second"
        take_away(namespace, "importer", valkey)
        until(lambda: not names["lock"].held)
        yield "third"

    names["batches"] = batches()
    with pytest.raises(LockLost, match="before it was released"):
        exec(block('client.lock("importer")'), names)
    assert [batch for batch, _ in loaded] == ["first", "second"]
    assert loaded[0][1] > 0


def test_a_leader_and_what_it_does_when_it_is_none_any_more(
    client: Client, namespace: str, valkey: Server
) -> None:
    class Enough(Exception):
        pass

    led: list[int] = []

    def schedule(token: Token, stop: threading.Event) -> None:
        led.append(token.number)
        if len(led) == 2:
            assert not stop.is_set()
            raise Enough
        take_away(namespace, "scheduler", valkey)
        assert stop.wait(30)

    names = {"client": client, "schedule": schedule, "stop": threading.Event(), "LockLost": LockLost}
    with pytest.raises(Enough):
        exec(block("client.election"), names)
    assert led[0] < led[1]


def test_members_of_a_group(client: Client, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, host = block("ephemeral=True"), socket.gethostname()
    with connect(namespace=namespace) as other:
        exec(recipe, {"client": other, "socket": socket, "work": lambda: False})
        exec(
            recipe, {"client": client, "socket": socket, "work": iter([True, False]).__next__}
        )  # (as one that was started again at once)
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"['{host}-0000000001']", f"['{host}-0000000001', '{host}-0000000002']"]


def test_a_member_that_was_taken_for_dead_is_one_again(
    client: Client, namespace: str, valkey: Server, until: Until
) -> None:
    names: dict[str, Any] = {"client": client, "socket": socket}

    async def end_session() -> None:
        store = ValkeyStore(valkey.url, namespace)
        (session,), _ = await store.list(Scope(Kind.SESSION, "workers"))
        await store.delete(Kind.SESSION, session.name)
        await store.close()

    def work() -> Iterator[bool]:
        asyncio.run(end_session())
        until(lambda: names["tree"].session_lost)
        yield True
        assert names["tree"].children("/members") == [f"{socket.gethostname()}-0000000002"]
        yield False

    names["work"] = work().__next__
    exec(block("ephemeral=True"), names)


def test_a_value_that_follows_its_node_and_a_count_that_loses_no_step(
    client: Client, namespace: str, until: Until
) -> None:
    told: list[list[str]] = []

    def program() -> None:
        with connect(namespace=namespace) as mine:
            exec(block("node.json + 1"), {"client": mine, "Conflict": Conflict, "reload": print})

    threads = [threading.Thread(target=program) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {
        "client": client,
        "Conflict": Conflict,
        "reload": lambda nodes: told.append([node.path for node in nodes]),
    }
    exec(block("node.json + 1"), names)
    assert client.tree("config").get("/count").json == 5  # type: ignore[union-attr]
    client.tree("config").set("/db/host", "a")
    until(lambda: told == [["/db/host"]])


@pytest.mark.parametrize("heading", ["From kazoo", "From redis-py's Lock"])
def test_the_way_over_leads_to_names_that_there_are(client: Client, heading: str) -> None:
    """Each call in the table is one that can be made so: what is no value stands for the parameter of its name."""
    places = {"connect": connect, "client": client, "lock": client.lock("l"), "tree": client.tree("t")}
    tried = 0
    for _, right in rows(heading):
        for code in re.findall(r"`([^`]+)`", right):
            expression = ast.parse(code, mode="eval").body
            if isinstance(expression, ast.Call):
                _check_call(expression, places)
                tried += 1
            elif isinstance(expression, ast.Attribute):
                assert hasattr(type(places[ast.unparse(expression.value)]), expression.attr), code
                tried += 1
    assert tried >= 4


def _check_call(expression: ast.Call, places: dict[str, Any]) -> None:
    inner = expression.func.value if isinstance(expression.func, ast.Attribute) else None
    if isinstance(inner, ast.Call):
        _check_call(inner, places)
    words = ast.unparse(expression.func)
    called = eval(words, {}, places)
    names = [one.id for one in expression.args if isinstance(one, ast.Name)]
    signature = inspect.signature(called)
    assert set(names) - {"path"} <= set(signature.parameters), ast.unparse(expression)
    values = [one for one in expression.args if not isinstance(one, ast.Name)]
    keywords = {one.arg: None for one in expression.keywords if one.arg}
    signature.bind_partial(*values, **keywords)


def test_the_names_of_redis_py_are_its_own() -> None:
    from redis import Redis
    from redis.lock import Lock

    words = " ".join(left for left, _ in rows("From redis-py's Lock"))
    for name in re.findall(r"(\w+)\(", words):
        assert hasattr(Redis if name == "lock" else Lock, name), name
    assert {"timeout", "blocking_timeout"} <= set(inspect.signature(Redis.lock).parameters)
