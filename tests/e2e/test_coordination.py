"""Workers that coordinate: by their own account, which is all they get; and sessions that nobody else looks after."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from tests.builders import COUNT
from tests.e2e.kube import SYSTEM, Kube, chunk_job, queue, until
from tests.e2e.rig import assert_nothing_left
from tests.e2e.test_security import rights

SLOW = COUNT.replace("def process(number):", "import time\n\ndef process(number):\n    time.sleep(0.2)")
#: tries to coordinate, and returns what it is told
TRY = """
from gristmill.coordination import connect
from gristmill.coordination.errors import CoordinationError

def process(number):
    try:
        with connect() as client, client.lock("l"):
            print("said: nothing")
    except CoordinationError as error:
        print("said:", type(error).__name__, error)
"""
#: makes an ephemeral node, says so, and stays
STAY = """
import sys, time
from gristmill.coordination import connect

client = connect(namespace=sys.argv[1])
client.tree("t", seconds=int(sys.argv[2])).create("/member", ephemeral=True)
print("there", flush=True)
time.sleep(600)
"""


def together(name: str = "mill", source: str = COUNT, **spec: Any) -> dict[str, Any]:
    return chunk_job(
        name,
        **{
            "input": {"range": {"stop": 60}},
            "chunks": {"size": 1},
            "process": {"source": source},
            "workers": {"max": 3},
            "coordination": True,
            **spec,
        },
    )


def count(kube: Kube) -> int:
    return int((kube.get("configmap", "tests.count") or {}).get("data", {}).get("value", 0))


def test_workers_count_together_and_may_do_nothing_else(kube: Kube) -> None:
    kube.apply(together())
    kube.await_complete("mill")
    assert count(kube) == 60
    account = f"system:serviceaccount:{kube.namespace}:mill-coordination"
    verbs = "get list watch create patch delete"
    expected = {("leases.coordination.k8s.io", "", verbs), ("configmaps", "", verbs)}
    assert rights(account, kube.namespace) == expected
    assert rights(account, SYSTEM) == set()
    uid = kube.uid("mill")
    kube.ctl("delete", "chj", "mill", "--timeout=60s")
    assert_nothing_left(kube, uid, queue)
    assert count(kube) == 60


@pytest.mark.parametrize("account", ["", "robot"])
def test_without_the_field_it_is_said_what_to_write(kube: Kube, account: str) -> None:
    workers: dict[str, Any] = {"max": 1}
    if account:
        kube.ctl("create", "serviceaccount", account)
        workers["template"] = {"serviceAccountName": account}
    kube.apply(together(source=TRY, input={"range": {"stop": 1}}, coordination=False, workers=workers))
    kube.await_complete("mill")
    text = until(lambda: kube.ctl("logs", "-l", "gristmill.dev/chunkjob=mill", "--tail=-1"))
    assert "said: Denied" in text
    assert "`coordination: true`" in text
    assert not kube.all("rolebindings")
    (pod,) = kube.all("pods")
    assert pod["spec"]["automountServiceAccountToken"] is bool(account)


def test_it_may_be_written_while_the_job_runs(kube: Kube) -> None:
    kube.apply(together(coordination=False, suspend=True))
    until(lambda: kube.condition("mill", "Suspended"))
    kube.ctl(
        "patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"coordination": true, "suspend": false}}'
    )
    kube.await_complete("mill")
    assert count(kube) == 60


def test_an_account_that_somebody_deletes_is_made_again(kube: Kube) -> None:
    kube.apply(together(source=SLOW))
    until(lambda: count(kube) > 2)
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    until(lambda: not [p for p in kube.all("pods") if p["status"]["phase"] in ("Pending", "Running")])
    kube.ctl("delete", "serviceaccount/mill-coordination", "rolebinding/mill-coordination")
    kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    kube.await_complete("mill")
    assert count(kube) >= 60


@pytest.mark.e2e_faults
def test_workers_of_an_account_that_is_gone_are_replaced(kube: Kube) -> None:
    retry = {"attempts": 1000, "backoffSeconds": 2, "backoffMaxSeconds": 2}
    kube.apply(together(source=SLOW, retry=retry, input={"range": {"stop": 400}}))
    until(lambda: count(kube) > 2)
    kube.ctl("delete", "serviceaccount/mill-coordination")
    kube.await_complete("mill", 240)
    assert count(kube) >= 400


def test_a_name_that_is_taken_is_waited_for(kube: Kube) -> None:
    kube.ctl("create", "serviceaccount", "mill-coordination")
    kube.apply(together())

    def taken() -> bool:
        conditions = {one["type"]: one for one in kube.status("mill").get("conditions", ())}
        return (conditions.get("Progressing") or {}).get("reason") == "NameTaken"

    until(taken)
    assert not kube.all("jobs")
    kube.ctl("delete", "serviceaccount", "mill-coordination")
    kube.await_complete("mill")


@pytest.mark.parametrize("seconds", [6, 15])
def test_what_is_ephemeral_goes_with_its_program_though_no_other_looks(kube: Kube, seconds: int) -> None:
    words = [sys.executable, "-c", STAY, kube.namespace, str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        time.sleep(seconds)  # (it is renewed: it stays)
        assert kube.get("configmap", "t.member")
    finally:
        process.kill()
        process.communicate()
    until(lambda: not kube.get("configmap", "t.member"))
    assert not kube.all("leases", "coordination.gristmill.dev/kind=session")
