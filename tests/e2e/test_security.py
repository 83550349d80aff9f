"""Who may create ChunkJobs gets no more than who may create Jobs; a job sees nothing of another."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from tests.e2e.kube import SYSTEM, Kube, chunk_job, kubectl, queue, until

ROOT = Path(__file__).parents[2]
HOSTILE = {path.stem: path.read_text() for path in sorted((ROOT / "tests/manifests/hostile").glob("*.yaml"))}
#: may do everything with what is Gristmill's in one namespace, and nothing else
MALLORY = "mallory"
OWN = "chunkjobs.gristmill.dev,caches.gristmill.dev,filevolumes.gristmill.dev"
#: what is written so often in a manifest that it is not written out: @3xab@ is ababab
GROWN = re.compile(r"@(\d+)x(.+?)@")


def comments(text: str, word: str) -> list[str]:
    return re.findall(rf"^# {word}: (.+)$", text, re.M)


REFUSED = {name: text for name, text in HOSTILE.items() if comments(text, "refused-by")}
HARMLESS = {name: text for name, text in HOSTILE.items() if comments(text, "harmless")}


@pytest.fixture(scope="module")
def place() -> Iterator[Kube]:
    """A namespace in which somebody may do everything with ChunkJobs, Caches and FileVolumes."""
    here = Kube(f"e2e-{secrets.token_hex(3)}")
    kubectl("create", "namespace", here.namespace)
    kubectl("label", "namespace", here.namespace, "pod-security.kubernetes.io/enforce=restricted")
    here.ctl("create", "serviceaccount", "robot")
    here.ctl("create", "role", "jobs", "--verb=*", f"--resource={OWN}")
    here.ctl("create", "rolebinding", "jobs", "--role=jobs", f"--user={MALLORY}")
    yield here
    kubectl("delete", "namespace", here.namespace, "--wait=false", code=None)


def write(folder: Path, here: Kube, manifests: dict[str, str]) -> Path:
    """Write manifests as they are to be applied: each with a name of its own, in this namespace."""
    for name, written in manifests.items():
        text = GROWN.sub(lambda found: found[2] * int(found[1]), written)
        text = text.replace("\n  name: hostile\n", f"\n  name: {name[:63]}\n", 1)
        if "\n  namespace:" not in text:
            text = text.replace("\nmetadata:\n", f"\nmetadata:\n  namespace: {here.namespace}\n", 1)
        (folder / f"{name}.yaml").write_text(text)
    return folder


def answers(folder: Path, *words: str) -> dict[str, str]:
    """Return what kubectl says of the manifests of a folder, by name; nothing of those that are accepted."""
    text = kubectl("apply", f"--as={MALLORY}", *words, "-f", str(folder), code=None)
    said = re.split(rf"{re.escape(str(folder))}/([\w-]+)\.yaml", text)
    return dict(zip(said[1::2], said[2::2], strict=True))


@pytest.fixture(scope="module")
def refusals(place: Kube, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said when somebody applies what is hostile, in earnest."""
    return answers(write(tmp_path_factory.mktemp("hostile"), place, REFUSED), "--validate=strict")


def test_there_are_enough() -> None:
    assert len(REFUSED) >= 100
    assert len(HARMLESS) + len(REFUSED) == len(HOSTILE)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_the_field_named(refusals: dict[str, str], name: str) -> None:
    (by,) = comments(REFUSED[name], "refused-by")
    answer = refusals.get(name, "")
    assert answer, "it was accepted"
    for field in comments(REFUSED[name], "names"):
        assert plain(field) in plain(answer), answer
    sign = {
        "schema": r"unknown field|Invalid value|Too (many|long)|Unsupported value|must be no more|at most",
        "cel": r"must|can't|has |names ",
        "admission": r"you may not (use the service account|let workers coordinate)",
        "rbac": r'User "mallory" cannot',
        "server": r"Invalid value|invalid|may not",
    }[by]
    assert re.search(sign, answer), answer


def test_nothing_came_of_it(place: Kube, refusals: dict[str, str]) -> None:
    assert refusals
    assert not {
        kind: found for kind in ("chj", "gcache", "fvol", "jobs", "pods", "sts") if (found := place.all(kind))
    }


def test_without_strictness_what_is_not_a_field_is_dropped(place: Kube, tmp_path: Path) -> None:
    unknown = {
        name: comments(text, "names")
        for name, text in REFUSED.items()
        if comments(text, "refused-by") == ["schema"]
    }
    folder = write(tmp_path, place, {name: REFUSED[name] for name in unknown})
    words = ("--validate=ignore", "--dry-run=server")
    for name in answers(folder, *words):
        (folder / f"{name}.yaml").unlink()
    text = kubectl("apply", f"--as={MALLORY}", *words, "-o", "json", "-f", str(folder))
    objects = {found["metadata"]["name"]: found for found in json.loads(text)["items"]}
    assert len(objects) > 50
    for name, found in objects.items():
        for path in unknown[name]:
            assert not reaches(found, plain(path).split(".")), (name, path)


def reaches(found: Any, steps: list[str]) -> bool:
    """Whether there is something at a path."""
    for step in steps:
        if isinstance(found, list):
            found = found[int(step)] if int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found is not None


def test_what_is_harmless_is_accepted(place: Kube, tmp_path: Path) -> None:
    assert answers(write(tmp_path, place, HARMLESS), "--validate=strict", "--dry-run=server") == {}
    assert all(len(reason) > 15 for text in HARMLESS.values() for reason in comments(text, "harmless"))


@pytest.fixture
def account(place: Kube) -> Iterator[str]:
    """A ChunkJob that may run as an account; who has made it was allowed to."""
    place.apply(chunk_job("trusted", suspend=True, workers={"template": {"serviceAccountName": "robot"}}))
    yield "trusted"
    place.ctl("delete", "chj", "trusted", "--timeout=60s")


def allow(place: Kube, name: str, *rules: dict[str, Any]) -> None:
    """Give somebody rights by a role of this name, whose rules are these."""
    group = "rbac.authorization.k8s.io"
    place.apply(
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": [*rules]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": MALLORY}],
        },
    )


def test_the_account_is_asked_about_at_each_change(place: Kube, account: str) -> None:
    def patch(name: str, body: dict[str, Any], code: int) -> str:
        words = ("patch", "chj", name, f"--as={MALLORY}", "--type=merge", "-p", json.dumps(body))
        return place.ctl(*words, code=code)

    mine = {"spec": {"process": {"source": "def process(x):\n    return 'mine'\n"}}}
    sentence = "spec.workers.template.serviceAccountName: you may not use the service account robot"
    assert sentence in patch(account, mine, 1)
    assert sentence in patch(account, {"spec": {"suspend": False}}, 1)
    patch(account, {"metadata": {"labels": {"team": "a"}}}, 0)
    place.apply(chunk_job("mine", suspend=True))
    assert sentence in patch("mine", {"spec": {"workers": {"template": {"serviceAccountName": "robot"}}}}, 1)
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["robot"], "verbs": ["use"]}
    allow(place, "use", rule)
    patch("mine", {"spec": {"workers": {"template": {"serviceAccountName": "robot"}}}}, 0)
    place.ctl("delete", "chj/mine", "role/use", "rolebinding/use", "--timeout=60s")


def test_who_lets_workers_coordinate_has_what_they_get(place: Kube) -> None:
    verbs = ["get", "list", "watch", "create", "patch", "delete"]
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}
    maps = {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}

    def patch(name: str, body: dict[str, Any], code: int) -> None:
        words = ("patch", "chj", name, f"--as={MALLORY}", "--type=merge", "-p", json.dumps(body))
        said = place.ctl(*words, code=code)
        assert not code or "spec.coordination: you may not let workers coordinate in this namespace" in said

    place.apply(chunk_job("together", suspend=True, coordination=True), chunk_job("alone", suspend=True))
    for lacking in ([], [leases], [maps], [leases, maps | {"verbs": verbs[:-1]}]):
        allow(place, "part", *lacking)
        patch("alone", {"spec": {"coordination": True}}, 1)
        patch("together", {"spec": {"suspend": False}}, 1)
    patch("together", {"metadata": {"labels": {"team": "a"}}}, 0)
    patch("together", {"spec": {"coordination": False}}, 0)
    allow(place, "part", leases, maps)
    patch("alone", {"spec": {"coordination": True}}, 0)
    place.ctl("delete", "chj/together", "chj/alone", "role/part", "rolebinding/part", "--timeout=60s")


def test_the_roles_of_the_cluster_for_who_edits_let_workers_coordinate(place: Kube) -> None:
    place.ctl("create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor")
    text = json.dumps(chunk_job("edited", suspend=True, coordination=True))
    place.ctl("create", "--as=editor", "--dry-run=server", "-f", "-", stdin=text)


def test_the_operator_gives_away_the_rights_of_coordination_and_no_others(kube: Kube) -> None:
    operator = f"--as=system:serviceaccount:{SYSTEM}:gristmill"
    binding = ("create", "rolebinding", operator, "--serviceaccount=default:default", "--dry-run=server")
    said = kube.ctl(*binding, "mine", "--clusterrole=gristmill-coordination", code=1)
    assert "the operator may let only the workers of a ChunkJob coordinate" in said
    kube.apply(chunk_job(suspend=True))
    owner = {
        "apiVersion": "gristmill.dev/v1alpha1",
        "kind": "ChunkJob",
        "name": "mill",
        "uid": kube.uid("mill"),
    }
    right = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "mine", "namespace": kube.namespace, "ownerReferences": [owner]},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "gristmill-coordination",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "mill-coordination", "namespace": kube.namespace}],
    }
    kube.ctl("create", "--dry-run=server", operator, "-f", "-", stdin=json.dumps(right))
    assert "attempting to grant RBAC permissions" in kube.ctl(*binding, "mine", "--clusterrole=view", code=1)
    kube.ctl("create", "rolebinding", "theirs", "--clusterrole=view", "--user=somebody")
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": MALLORY}
    patch = ("patch", "rolebinding", "theirs", operator, "--type=merge", "--dry-run=server")
    said = kube.ctl(*patch, "-p", json.dumps({"subjects": [subject]}), code=1)
    assert "attempting to grant RBAC permissions" in said or "cannot get" in said


def test_the_operator_deletes_no_leases_but_those_of_sessions(kube: Kube) -> None:
    def lease(name: str, **labels: str) -> dict[str, Any]:
        metadata = {"name": name, "labels": {f"coordination.gristmill.dev/{k}": v for k, v in labels.items()}}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}

    kube.apply(lease("bare"), lease("lock", kind="lock"), lease("session", kind="session", tree="t"))
    words = ("delete", "lease", "--dry-run=server", f"--as=system:serviceaccount:{SYSTEM}:gristmill")
    for name in ("bare", "lock"):
        assert f"the operator may delete only the Leases of sessions; {name} is none" in kube.ctl(
            *words, name, code=1
        )
    kube.ctl(*words, "session")


def test_what_is_too_deep_is_a_fault_of_its_own(kube: Kube, tmp_path: Path) -> None:
    folder = write(tmp_path, kube, {"items-deep": HARMLESS["items-deep"]})
    kube.ctl("apply", "--validate=strict", "-f", str(folder))
    # (this process can't read all of it either)
    path = 'jsonpath={.status.conditions[?(@.type=="Failed")]}'
    condition = json.loads(until(lambda: kube.ctl("get", "chj", "items-deep", "-o", path)))
    assert condition["reason"] == "InvalidSpec"
    assert "nested deeper than 100 levels" in condition["message"]
    kube.apply(chunk_job())
    kube.await_complete("mill")
    assert [job["metadata"]["name"] for job in kube.all("jobs")] == ["mill-workers"]
    kube.ctl("delete", "chj", "--all", "--timeout=60s")


TRY = """
import os
import redis

WORDS = {words!r}

def process(number):
    client = redis.Redis.from_url(os.environ["GRISTMILL_QUEUE_URL"])
    assert client.ping()
    mine = "gristmill:{{" + os.environ["GRISTMILL_JOB"] + "}}:job"
    assert client.hget(mine, "phase"), "its own keys are the job's"
    allowed = []
    for words in WORDS:
        try:
            client.execute_command(*words)
        except redis.exceptions.NoPermissionError:
            continue
        except redis.exceptions.ResponseError as error:
            if "command not allowed" in str(error):
                continue
        allowed.append(" ".join(words))
    assert not allowed, allowed
"""


def test_a_job_cant_see_or_harm_another_in_the_queue(kube: Kube) -> None:
    from tests.protocol.test_access import REFUSED as COMMANDS

    kube.apply(chunk_job("victim", suspend=True))
    uid = kube.uid("victim")
    until(lambda: f"job-{uid}" in queue("ACL", "USERS"))
    before = queue("HGETALL", f"gristmill:{{{uid}}}:job"), queue("FUNCTION", "LIST")
    words = [[word.replace("{other}", f"{{{uid}}}") for word in command] for command in COMMANDS]
    kube.apply(
        chunk_job(
            input={"items": [0]},
            process={"source": TRY.format(words=words)},
            retry={"attempts": 1},
            workers={"max": 1},
        )
    )
    kube.await_complete("mill")
    assert (queue("HGETALL", f"gristmill:{{{uid}}}:job"), queue("FUNCTION", "LIST")) == before
    assert kube.get("chunkjob", "victim")


def rights(account: str, namespace: str) -> set[tuple[str, str, str]]:
    """Return (resource, names, verbs) of an account, without what all accounts have."""

    def listed(user: str) -> set[tuple[str, str, str]]:
        text = kubectl("auth", "can-i", "--list", "--no-headers", f"--as={user}", "-n", namespace)
        found = re.findall(r"^(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]$", text, re.M)
        return {(resource, names, verbs) for resource, urls, names, verbs in found if not urls}

    return listed(account) - listed("system:serviceaccount:default:nobody")


#: the names of what the README names so
_NAMES = {
    "secrets (the queue's)": "gristmill-queue-auth",
    "caches (the queue's)": "gristmill-queue",
    "clusterroles (of coordination)": "gristmill-coordination",
}


def told(heading: str) -> set[tuple[str, str, str]]:
    """Return what the chart's README tells of the rights below a heading."""
    section = (ROOT / "charts/gristmill/README.md").read_text().split(heading, 1)[1]
    table = section.split("| --- | --- | --- |\n", 1)[1].split("\n\n", 1)[0]
    groups = {"jobs": "batch", "statefulsets": "apps", "leases": "coordination.k8s.io"}
    groups |= dict.fromkeys(("chunkjobs", "caches", "filevolumes"), "gristmill.dev")
    groups |= {"poddisruptionbudgets": "policy", "networkpolicies": "networking.k8s.io"}
    groups |= {"workloads": "kueue.x-k8s.io"}
    groups |= dict.fromkeys(("rolebindings", "clusterroles"), "rbac.authorization.k8s.io")
    found = set()
    for row in table.splitlines():
        resources, verbs, why = (cell.strip() for cell in row.strip("|").split("|"))
        assert len(why) > 10, row
        for resource in resources.split(", "):
            kind, _, part = resource.partition(" ")[0].partition("/")
            name = f"{kind}.{groups[kind]}" if kind in groups else kind
            found.add((name + (f"/{part}" if part else ""), _NAMES.get(resource, ""), verbs))
    return found


def test_the_operators_rights_are_those_that_the_readme_explains(place: Kube) -> None:
    operator = f"system:serviceaccount:{SYSTEM}:gristmill"
    everywhere = told("In each namespace that is watched") | told("Only where all namespaces are watched")
    assert rights(operator, place.namespace) == everywhere
    at_home = {
        (resource, names, verb)
        for resource, names, verbs in rights(operator, SYSTEM)
        for verb in verbs.split()
    }
    explained = everywhere | told("In the release's namespace")
    assert at_home == {
        (resource, names, verb) for resource, names, verbs in explained for verb in verbs.split()
    }


@pytest.mark.parametrize(
    "words",
    [
        "create pods", "get pods --subresource=log", "create pods --subresource=exec", "get secrets", "list secrets",
        "get configmaps", "create serviceaccounts --subresource=token", "impersonate users", "get nodes",
        "create clusterrolebindings.rbac.authorization.k8s.io", "get customresourcedefinitions", "delete namespaces",
        "create configmaps", "patch leases.coordination.k8s.io", "get rolebindings.rbac.authorization.k8s.io",
        "bind clusterroles.rbac.authorization.k8s.io/edit", "create roles.rbac.authorization.k8s.io",
    ],
)  # fmt: skip
def test_the_operator_may_not(place: Kube, words: str) -> None:
    operator = f"--as=system:serviceaccount:{SYSTEM}:gristmill"
    text = kubectl("auth", "can-i", *words.split(), operator, "-n", place.namespace, code=None)
    assert "no" in text.split(), text


@pytest.mark.parametrize(
    ("api_version", "kind"), [(None, None), ("gristmill.dev/v1", "Other"), ("v1", "Cache")]
)
def test_the_operator_reads_no_secret_by_patching_it_but_its_own(
    kube: Kube, api_version: str | None, kind: str | None
) -> None:
    """A patch that changes nothing is answered with the Secret."""
    owner = {"apiVersion": api_version, "kind": kind, "name": "some", "uid": "some"}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "foreign", "ownerReferences": [owner] if kind else []},
        }
    )
    kube.apply(chunk_job())
    until(lambda: kube.get("secret", "mill-queue"))
    client = kubernetes.config.new_client_from_config()
    client.set_default_header("Impersonate-User", f"system:serviceaccount:{SYSTEM}:gristmill")
    patch = kubernetes.client.CoreV1Api(client).patch_namespaced_secret
    assert patch("mill-queue", kube.namespace, {}, dry_run="All").data
    with pytest.raises(
        kubernetes.client.ApiException, match="only the Secrets of ChunkJobs, Caches and FileVolumes"
    ) as told:
        patch("foreign", kube.namespace, {}, dry_run="All")
    assert told.value.status == 403


def plain(path: str) -> str:
    """Return a path, or a text with paths, in one of the ways in which they are written."""
    return re.sub(r"\[['\"]?([\w/.-]+)['\"]?\]", r".\1", path)
