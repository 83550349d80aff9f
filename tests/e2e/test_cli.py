"""The commands on a cluster: what people type, what they read, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kube import PATIENCE, Kube, chunk_job, claim, kubectl, mounted, until

PICKY = "def process(x):\n    print('saw', x)\n    if x == 13:\n        raise ValueError('unlucky')\n    return x * x\n"
SLOW = "import time\n\ndef process(x):\n    time.sleep(0.5)\n    return x\n"


@dataclass
class Desk:
    """A folder where commands are run that mean a namespace of the cluster."""

    kube: Kube
    folder: Path

    def run(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace and check its exit code."""
        return self.bare(*words, "-n", self.kube.namespace, code=code, **environment)

    def bare(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        done = subprocess.run(
            [sys.executable, "-m", "gristmill", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE + 30,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == code, done
        return done

    def write(self, manifest: dict[str, Any]) -> str:
        """Write a manifest."""
        (self.folder / "job.yaml").write_text(json.dumps(manifest), encoding="utf-8")
        return "job.yaml"

    def status(self, name: str) -> dict[str, Any]:
        """Return a status."""
        found: dict[str, Any] = json.loads(self.run("get", name, "--json").stdout)
        return found

    def results(self, name: str, *words: str) -> list[Any]:
        """Return results."""
        return [json.loads(line) for line in self.run("results", name, *words).stdout.splitlines()]


@pytest.fixture
def desk(kube: Kube, tmp_path: Path) -> Desk:
    return Desk(kube, tmp_path)


@pytest.fixture
def picky(desk: Desk) -> Desk:
    """A complete job of four chunks of which item 3 of chunk 1 is a dead letter."""
    desk.write(
        chunk_job(
            "picky",
            input={"range": {"stop": 40}},
            chunks={"size": 10},
            process={"source": PICKY},
            retry={"attempts": 2, "backoffSeconds": 0.1},
            failures={"tolerated": 1},
        )
    )
    done = desk.run("submit", "job.yaml", "--wait")
    assert done.stdout == "picky\n"
    assert "picky: complete, 39 results of 4 chunks" in done.stderr
    assert "1 item failed" in done.stderr
    return desk


def test_a_complete_job_is_looked_at(picky: Desk) -> None:
    status = picky.status("picky")
    assert status["state"] == "Complete"
    assert status["items"] == {"total": 40, "succeeded": 39, "failed": 1}
    assert picky.run("get", "picky").stdout.startswith("picky: Complete\n")
    header, row = picky.run("get").stdout.splitlines()
    assert header.split() == ["NAME", "STATE", "DONE", "TOTAL", "FAILED", "WORKERS", "LEFT"]
    assert row.split()[:5] == ["picky", "Complete", "3", "4", "1"]
    assert "39/40, 1 failed" in picky.run("top", "picky", "--once").stdout
    squares = [x * x for x in range(40) if x != 13]
    assert picky.results("picky") == squares
    assert picky.results("picky") == squares
    letter = json.loads(picky.run("failures", "picky", "--json").stdout)
    assert (letter["chunk"], letter["item"], letter["input"], letter["attempts"]) == (1, 3, "13", 2)
    told = picky.run("why", "picky", "1").stdout
    for words in ("chunk 1: 10 to 19", "leased", "failed, kind error, item 3", "ValueError: unlucky"):
        assert words in told
    done = picky.run("repro", "picky", "1", code=1)
    assert "chunk 1 item 3: 13" in done.stderr
    assert 'File "<process.source>", line 4, in process' in done.stderr


def test_what_a_chunk_printed(desk: Desk) -> None:
    """While the job runs: the pods go some seconds after it is complete, and their logs with them."""
    source = (
        "import time\n\ndef process(x):\n    print('saw', x)\n    time.sleep(200 * (x == 40))\n    return x\n"
    )
    job = chunk_job(input={"range": {"stop": 41}}, chunks={"size": 10}, process={"source": source})
    desk.run("submit", desk.write(job))
    until(lambda: desk.kube.status("mill").get("chunks", {}).get("succeeded") == 4)
    lines = desk.run("logs", "mill", "--chunk", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"saw {x}" for x in range(20, 30)]


def test_it_is_a_word_of_kubectl(picky: Desk) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["kubectl", "gristmill", "get", "picky", "-n", picky.kube.namespace]
    done = subprocess.run(
        words, cwd=picky.folder, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False
    )
    assert done.stdout.startswith("picky: Complete\n"), done.stderr


def test_dead_letters_are_opened_again_and_the_operator_goes_on(picky: Desk) -> None:
    picky.results("picky")
    assert "no dead letter of 0" in picky.run("retry", "picky", "0", code=2).stderr
    before = len(json.loads(picky.run("why", "picky", "1", "--json").stdout)["events"])
    assert json.loads(picky.run("retry", "picky", "--json").stdout) == {"opened": 1, "job": True}
    until(lambda: len(json.loads(picky.run("why", "picky", "1", "--json").stdout)["events"]) > before + 1)
    until(lambda: picky.status("picky")["state"] == "Complete")
    assert len(picky.results("picky")) == 39


def test_suspend_and_resume_change_the_spec(desk: Desk) -> None:
    desk.write(chunk_job(process={"source": SLOW}, chunks={"size": 1}))
    desk.run("submit", "job.yaml")
    until(lambda: desk.status("mill")["chunks"]["succeeded"])
    facts = json.loads(desk.run("top", "mill", "--json").stdout)
    assert facts["workerList"]
    assert "is not complete" in desk.run("results", "mill", code=1).stderr
    desk.run("suspend", "mill")
    assert (desk.kube.get("chunkjob", "mill") or {})["spec"]["suspend"] is True
    until(lambda: desk.status("mill")["state"] == "Suspended")
    assert json.loads(desk.run("resume", "mill", "--json").stdout) == {"suspended": False}
    assert desk.results("mill", "--take") == list(range(100))
    assert "were taken already" in desk.run("results", "mill", code=1).stderr


def test_a_job_that_fails_ends_with_1(desk: Desk) -> None:
    desk.write(chunk_job(process={"source": PICKY}, retry={"attempts": 1}))
    done = desk.run("submit", "job.yaml", "--wait", "--json", code=1)
    assert json.loads(done.stdout)["state"] == "Failed"
    assert "mill: failed, TooManyFailures: " in done.stderr
    assert "the job mill failed (TooManyFailures)" in desk.run("results", "mill", code=1).stderr


def test_submit_again_changes_what_may_change(desk: Desk) -> None:
    desk.write(chunk_job(suspend=True))
    assert "made in the namespace" in desk.run("submit", "job.yaml").stderr
    assert "has not been started" in desk.run("why", "mill", "0", code=2).stderr
    desk.write(chunk_job(suspend=False))
    done = desk.run("submit", "job.yaml", "--wait", "--json")
    assert "changed in the namespace" in done.stderr
    assert json.loads(done.stdout)["chunks"]["succeeded"] == 100


def test_modules_of_a_config_map_are_run_here(desk: Desk) -> None:
    modules = {"mine.py": "def half(x):\n    return 1 // (x - 7)\n"}
    desk.kube.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": modules},
        chunk_job(
            process={"function": "mine:half", "modules": "code"},
            failures={"tolerated": 1},
            retry={"attempts": 1},
        ),
    )
    desk.kube.await_complete("mill")
    chunk = json.loads(desk.run("failures", "mill", "--json").stdout)["chunk"]
    done = desk.run("repro", "mill", str(chunk), code=1)
    assert "mine.py" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_code_that_changes_while_it_runs_is_mixed_in_when_that_is_accepted(desk: Desk) -> None:
    def code(answer: int) -> dict[str, Any]:
        text = f"import time\n\ndef f(x):\n    time.sleep(0.2)\n    return {answer}\n"
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "code"},
            "data": {"mine.py": text},
        }

    process = {"function": "mine:f", "modules": "code"}
    desk.kube.apply(code(1), chunk_job(process=process, chunks={"size": 1}))
    until(lambda: desk.kube.status("mill").get("chunks", {}).get("succeeded"))
    desk.kube.apply(code(2))
    desk.kube.ctl("delete", "pods", "-l", "gristmill.dev/chunkjob=mill")
    failed = until(lambda: desk.kube.condition("mill", "Failed"))
    assert failed["reason"] == "CodeChanged"
    assert "set acceptCode: true, and `gristmill retry mill`" in failed["message"]
    desk.kube.ctl("patch", "chj", "mill", "--type=merge", "-p", '{"spec": {"acceptCode": true}}')
    desk.run("retry", "mill")
    until(lambda: desk.kube.condition("mill", "Complete"))
    results = desk.results("mill")
    assert len(results) == 100
    assert set(results) == {1, 2}


def test_results_at_a_path_in_the_pods_are_read_by_a_pod(desk: Desk) -> None:
    desk.kube.apply(claim("data"))
    desk.write(chunk_job(output={"url": "/data/out"}, workers=mounted("data")))
    assert "results: /data/out" in desk.run("submit", "job.yaml", "--wait").stderr
    assert desk.run("results", "mill").stdout.split() == [str(x * x) for x in range(100)]
    until(lambda: not [p for p in desk.kube.all("pods") if "-results-" in p["metadata"]["name"]])


def test_what_is_wrong_is_told(desk: Desk) -> None:
    desk.write(chunk_job(chunks={"size": 0}))
    assert "spec.chunks.size: " in desk.run("submit", "job.yaml", code=2).stderr
    assert desk.kube.all("chunkjobs") == []
    absent = f"there is no ChunkJob absent in the namespace {desk.kube.namespace}"
    for words in (["get", "absent"], ["results", "absent"], ["why", "absent", "0"], ["suspend", "absent"]):
        assert absent in desk.run(*words, code=2).stderr
    assert "there is no run absent in .gristmill/ here" in desk.bare("get", "absent", code=2).stderr
    assert "no context 'absent'" in desk.bare("get", "mill", "--context", "absent", code=2).stderr
    assert "give one of them" in desk.run("get", "mill", "--state", "mill", code=2).stderr
    assert "there is no ChunkJob" in desk.run("get").stderr
    desk.write(chunk_job())
    nowhere = str(desk.folder / "none")
    assert "no kube config" in desk.run("submit", "job.yaml", code=2, KUBECONFIG=nowhere).stderr
    told = desk.bare("get", "mill", code=2, KUBECONFIG=nowhere).stderr
    assert "there is no run mill in .gristmill/ here, and no cluster to ask" in told


def test_a_run_here_comes_first(desk: Desk) -> None:
    desk.write(chunk_job("both", input={"range": {"stop": 3}}))
    desk.run("submit", "job.yaml", "--wait")
    desk.bare("run", "job.yaml")
    assert "output" in desk.bare("get", "both").stdout
    assert desk.run("get", "both").stdout.startswith("both: Complete\n")
    desk.run("get", "both", "--state", "both", code=2)


def test_a_missing_right_is_named(desk: Desk) -> None:
    config = _config_of(desk, "edit")
    desk.write(chunk_job())
    desk.bare("submit", "job.yaml", "--wait", KUBECONFIG=config)
    told = desk.bare("failures", "mill", code=1, KUBECONFIG=config).stderr
    assert "pods/portforward in the namespace gristmill-system" in told
    config = _config_of(desk, "view")
    desk.bare("get", "mill", KUBECONFIG=config)
    told = desk.bare("failures", "mill", code=1, KUBECONFIG=config).stderr
    assert f"you lack a right in the namespace {desk.kube.namespace}: secrets " in told


def _config_of(desk: Desk, role: str) -> str:
    """Return a kube config of somebody who has a role in the namespace."""
    ctl = desk.kube.ctl
    ctl("create", "serviceaccount", role)
    account = f"{desk.kube.namespace}:{role}"
    ctl("create", "rolebinding", role, f"--clusterrole={role}", f"--serviceaccount={account}")
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": ctl("create", "token", role).strip()}
    config["contexts"][0]["context"]["namespace"] = desk.kube.namespace
    path = desk.folder / f"{role}.kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)
