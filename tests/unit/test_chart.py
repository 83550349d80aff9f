"""The Helm chart, as `helm template` renders it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.reconcilers.accounts import binding
from gristmill.reconcilers.volume_objects import claim_labels
from gristmill.reconcilers.volume_observed import EMPTIED

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/gristmill"
HELM = shutil.which("helm") or shutil.which("helm", path=Path.home() / ".cache/offline-kind/bin")

_NEEDED = os.environ.get("CI") and not os.environ.get("GRISTMILL_NO_CLUSTER")
pytestmark = pytest.mark.skipif(not HELM and not _NEEDED, reason="helm is not there")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM, "helm is not there"
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(*arguments: str) -> subprocess.CompletedProcess[str]:
    release = ("gristmill", str(CHART), "--namespace", "home", "--kube-version", "1.36.0")
    return helm("template", *release, *arguments)


@cache
def rendered(*values: str) -> list[dict[str, Any]]:
    result = template(*(word for value in values for word in ("--set", value)))
    assert result.returncode == 0, result.stderr
    return [found for found in yaml.safe_load_all(result.stdout) if found]


def of_kind(kind: str, *values: str) -> list[dict[str, Any]]:
    return [found for found in rendered(*values) if found["kind"] == kind]


def annotations(found: dict[str, Any]) -> dict[str, str]:
    return found["metadata"].get("annotations") or {}


def the_key(manifests: str) -> str:
    (secret,) = [found for found in yaml.safe_load_all(manifests) if found and found["kind"] == "Secret"]
    return base64.b64decode(secret["data"]["key"]).decode()


def test_helm_has_nothing_to_say() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout


def test_the_chart_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_every_pod_is_restricted() -> None:
    pods = [found["spec"]["template"]["spec"] for found in of_kind("Deployment")]
    pods += [found["spec"] for found in of_kind("Pod")]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]


def test_the_operator_is_told_every_setting_of_its_documentation() -> None:
    text = (ROOT / "docs/operator.md").read_text()
    section = text.split("## The operator's own settings")[1].split("\n## ")[0]
    (deployment,) = of_kind("Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    told = {variable["name"] for variable in container["env"]}
    assert set(re.findall(r"`(GRISTMILL_\w+)`", section)) == told


def test_no_node_nor_zone_has_all_replicas_also_after_an_upgrade() -> None:
    """A constraint of a label that nodes lack (of zones, say) would have the scheduler heed none, so it is no such."""
    (deployment,) = of_kind("Deployment", "replicas=2")
    pod = deployment["spec"]["template"]["spec"]
    (spread,) = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1)
    assert spread["nodeTaintsPolicy"] == "Honor", "a node that takes no replica does not count"
    (preferred,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    apart = preferred["podAffinityTerm"]
    assert apart["topologyKey"] == "topology.kubernetes.io/zone"
    for one in (spread, apart):
        assert one["labelSelector"] == deployment["spec"]["selector"]
        assert one["matchLabelKeys"] == ["pod-template-hash"]


@pytest.mark.parametrize("own", ["", "node.kubernetes.io/not-ready"])
def test_replicas_on_a_node_that_is_lost_are_soon_elsewhere(own: str) -> None:
    """As workers are; what a user says of the same comes first."""
    said = f"tolerations[0].key={own},tolerations[0].operator=Exists" if own else "replicas=2"
    (deployment,) = of_kind("Deployment", said)
    tolerations = {one["key"]: one for one in deployment["spec"]["template"]["spec"]["tolerations"]}
    assert len(tolerations) == 2
    for key, toleration in tolerations.items():
        assert toleration.get("tolerationSeconds") == (None if key == own else 30)


def test_a_drain_is_not_blocked() -> None:
    (budget,) = of_kind("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(("namespaces", "watched"), [("", ""), ("{b,a}", "a,b,home"), ("{home}", "home")])
def test_what_is_watched(namespaces: str, watched: str) -> None:
    (deployment,) = of_kind("Deployment", f"watch.namespaces={namespaces}" if namespaces else "replicas=2")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "GRISTMILL_WATCH", "value": watched} in container["env"]


def leaves(found: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, found


@pytest.mark.parametrize("watch", ["", "watch.namespaces={1e3,456}"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(watch: str) -> None:
    """YAML reads 123 as a number and true as a truth."""
    values = f"queue.cache=true,key.existingSecret=789,valkey.image=1,{watch}"
    switches = "networkPolicy.enabled=true,serviceMonitor.enabled=true"
    users = "rbac.queueUsers[0].kind=User,rbac.queueUsers[0].name=u"
    where = ("123", str(CHART), "--namespace", "456", "--kube-version", "1.36.0")
    result = helm("template", *where, "--set-string", values, "--set", f"{switches},{users}")
    assert result.returncode == 0, result.stderr
    words = re.compile(r"/(name|namespace|cache|value|image)$|/(labels|matchLabels|selector|resourceNames)/")
    wrong = [
        f"{found['kind']}{path}: {value!r}"
        for found in yaml.safe_load_all(result.stdout)
        if found and found["kind"] != "CustomResourceDefinition"
        for path, value in leaves(found)
        if words.search(path) and not isinstance(value, str)
    ]
    assert wrong == []


#: as the API server takes names: of a Service, of nearly all else
_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


@pytest.mark.parametrize(
    "release", ["a.b", "1.2", "gristmill.of.us", "0123456789." * 4 + "gristmill", "x" * 29 + ".y" * 10]
)
def test_a_release_may_have_any_name_that_helm_takes(release: str) -> None:
    switches = "networkPolicy.enabled=true,serviceMonitor.enabled=true"
    where = (release, str(CHART), "--namespace", "home", "--kube-version", "1.36.0")
    result = helm("template", *where, "--set", switches)
    assert result.returncode == 0, result.stderr
    for found in yaml.safe_load_all(result.stdout):
        if found and found["kind"] != "CustomResourceDefinition":
            form = _LABEL if found["kind"] in ("Service", "ChunkJob") else _SUBDOMAIN
            assert re.fullmatch(form, found["metadata"]["name"]), (found["kind"], found["metadata"]["name"])
            assert len(found["metadata"]["name"]) <= 63


def test_rights_in_namespaces_are_those_of_the_cluster_but_for_namespaces() -> None:
    (everywhere,) = [found for found in of_kind("ClusterRole") if found["metadata"]["name"] == "gristmill"]
    values = "watch.namespaces={a,b}"
    names = {found["metadata"]["name"] for found in of_kind("ClusterRole", values)}
    assert names == {"gristmill-view", "gristmill-edit", "gristmill-coordination", "gristmill-deletions"}
    assert [found["roleRef"]["name"] for found in of_kind("ClusterRoleBinding", values)] == [
        "gristmill-deletions"
    ]
    roles = [found for found in of_kind("Role", values) if found["metadata"]["name"] == "gristmill"]
    assert {found["metadata"]["namespace"] for found in roles} == {"a", "b", "home"}
    for role in roles:
        assert role["rules"] == [r for r in everywhere["rules"] if r["resources"] != ["namespaces"]]


def test_secrets_are_written_and_not_read_but_the_queues() -> None:
    readable = [
        (found["kind"], found["metadata"]["namespace"], rule.get("resourceNames"))
        for values in ((), ("watch.namespaces={a}",))
        for found in rendered(*values)
        for rule in found.get("rules") or ()
        if {"secrets", "*"} & {*rule["resources"]} and {"get", "list", "watch", "*"} & {*rule["verbs"]}
    ]
    assert readable == [("Role", "home", ["gristmill-queue-auth"])] * 2


def test_the_secrets_that_the_operator_may_change_are_those_of_its_resources() -> None:
    """A patch answers with the object: the right to patch is one to read."""
    (policy,) = [
        one for one in of_kind("ValidatingAdmissionPolicy") if one["metadata"]["name"].endswith("-secrets")
    ]
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"], rule["operations"]) == ([""], ["secrets"], ["UPDATE"])
    (condition,) = policy["spec"]["matchConditions"]
    (operator,) = of_kind("Deployment")
    account = (
        f"{operator['metadata']['namespace']}:{operator['spec']['template']['spec']['serviceAccountName']}"
    )
    assert condition["expression"] == f'request.userInfo.username == "system:serviceaccount:{account}"'
    bindings = {one["spec"]["policyName"]: one["spec"] for one in of_kind("ValidatingAdmissionPolicyBinding")}
    assert bindings[policy["metadata"]["name"]]["validationActions"] == ["Deny"]


def policy(ending: str, *values: str) -> dict[str, Any]:
    """Return the spec of a policy that is bound, and denies."""
    (found,) = [
        one
        for one in of_kind("ValidatingAdmissionPolicy", *values)
        if one["metadata"]["name"].endswith(ending)
    ]
    binding_of = of_kind("ValidatingAdmissionPolicyBinding", *values)
    bindings = {one["spec"]["policyName"]: one["spec"] for one in binding_of}
    assert bindings[found["metadata"]["name"]]["validationActions"] == ["Deny"]
    return dict(found["spec"])


def test_the_leases_that_the_operator_may_delete_are_those_of_sessions() -> None:
    """Others are locks, and the heartbeats of nodes."""
    spec = policy("-leases")
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"], rule["operations"]) == (
        ["coordination.k8s.io"],
        ["leases"],
        ["DELETE"],
    )
    assert spec["matchConditions"] == policy("-secrets")["matchConditions"]


def test_the_claims_that_the_operator_may_delete_are_those_of_servers_that_it_has_emptied() -> None:
    """Others are data."""
    spec = policy("-claims")
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"], rule["operations"]) == (
        [""],
        ["persistentvolumeclaims"],
        ["DELETE"],
    )
    assert spec["matchConditions"] == policy("-secrets")["matchConditions"]
    (validation,) = spec["validations"]
    (label, _) = claim_labels("files")
    assert f'labels[?"{label}"]' in validation["expression"]
    assert f'annotations[?"{EMPTIED}"]' in validation["expression"]


def test_the_bindings_that_the_operator_may_make_are_those_of_workers_that_coordinate() -> None:
    """The role alone says not who gets it."""
    spec = policy("-rolebindings")
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"], rule["operations"]) == (
        ["rbac.authorization.k8s.io"],
        ["rolebindings"],
        ["CREATE", "UPDATE"],
    )
    assert spec["matchConditions"] == policy("-secrets")["matchConditions"]
    (validation,) = spec["validations"]
    made = binding({"name": "j", "uid": "u", "namespace": "n"}, "gristmill-coordination")
    for part in (
        f'object.roleRef.name == "{made["roleRef"]["name"]}"',
        f'variables.subjects[0].name == owner.name + "{made["subjects"][0]["name"].removeprefix("j")}"',
    ):
        assert part in validation["expression"]


def test_where_it_does_not_watch_the_operator_may_change_only_what_is_deleted() -> None:
    """A Role that went with its namespace takes no finalizer away, and lets nobody see that it did."""
    values = "watch.namespaces={b,a}"
    (role,) = [
        one for one in of_kind("ClusterRole", values) if one["metadata"]["name"].endswith("-deletions")
    ]
    assert role["rules"] == [
        {"apiGroups": ["gristmill.dev"], "resources": ["chunkjobs", "filevolumes"], "verbs": ["patch"]},
        {
            "apiGroups": [""],
            "resources": ["namespaces"],
            "resourceNames": ["a", "b", "home"],
            "verbs": ["get"],
        },
    ]
    spec = policy("-deletions", values)
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["chunkjobs", "filevolumes"], ["UPDATE"])
    assert spec["matchConditions"] == policy("-secrets")["matchConditions"]
    (validation,) = spec["validations"]
    allowed = 'request.namespace in ["a","b","home"] || has(oldObject.metadata.deletionTimestamp)'
    assert validation["expression"] == allowed
    assert not [one for one in rendered() if one["metadata"]["name"].endswith("-deletions")]


def test_workers_that_coordinate_get_what_is_asked_of_the_requester_and_no_more() -> None:
    (role,) = [one for one in of_kind("ClusterRole") if one["metadata"]["name"] == "gristmill-coordination"]
    verbs = ["get", "list", "watch", "create", "patch", "delete"]
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs},
    ]
    rules = [one for one in policy("-service-account")["validations"] if "coordinates" in one["expression"]]
    asked = [re.findall(r'resource\("(\w+)"\)[^!]*?check\("(\w+)"\)', one["expression"]) for one in rules]
    assert asked == [[("leases", verb), ("configmaps", verb)] for verb in verbs]
    assert all(f"it gives them {', '.join(verbs)} of leases" in one["message"] for one in rules)


@pytest.mark.parametrize("values", [(), ("watch.namespaces={a}",)])
def test_the_operator_gives_away_the_role_of_coordination_and_no_other(values: tuple[str, ...]) -> None:
    bindable = [
        (rule["resources"], rule.get("resourceNames"))
        for found in rendered("rbac.aggregate=false", *values)
        for rule in found.get("rules") or ()
        if {"bind", "escalate", "*"} & {*rule["verbs"]}
    ]
    assert {json.dumps(one) for one in bindable} == {'[["clusterroles"], ["gristmill-coordination"]]'}
    (operator,) = of_kind("Deployment")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert {"name": "GRISTMILL_COORDINATION_ROLE", "value": "gristmill-coordination"} in container["env"]


def test_the_only_cache_that_is_patched_is_the_queue() -> None:
    patching = [
        (found["kind"], found["metadata"]["name"], rule.get("resourceNames"))
        for values in ((), ("watch.namespaces={a}",))
        for found in rendered("queue.cache=mine", *values)
        for rule in found.get("rules") or ()
        if "caches" in rule["resources"]
        and "patch" in rule["verbs"]
        and not found["metadata"]["name"].endswith("-edit")
    ]
    assert patching == [("Role", "gristmill-home", ["mine"])] * 2


def test_every_right_is_in_the_readme() -> None:
    section = (CHART / "README.md").read_text().split("## What the operator may do")[1]
    told = sorted(tuple(row) for row in re.findall(r"^\| ([^|]+?) \| ([a-z ]+) \|", section, re.M))
    given = []
    ours = {("ClusterRole", "gristmill"), ("Role", "gristmill-home")}
    whose, queues = {"clusterroles": "of coordination", "namespaces": "those that are watched"}, "the queue's"
    for found in [*rendered(), *of_kind("ClusterRole", "watch.namespaces={a}")]:
        name = found["metadata"]["name"]
        if (found["kind"], name) in ours | {("ClusterRole", "gristmill-deletions")}:
            for rule in found["rules"]:
                resources = ", ".join(rule["resources"])
                if "resourceNames" in rule:
                    resources += f" ({whose.get(resources, queues)})"
                if rule["apiGroups"] == ["events.k8s.io"]:
                    resources += ".events.k8s.io"
                given.append((resources, " ".join(rule["verbs"])))
    assert [row for row in told if row[0] != "resources"] == sorted(given)


def test_who_uses_the_queue_from_outside_may_reach_its_pod_and_no_other() -> None:
    names = ("rbac.queueUsers[0].kind=Group", "rbac.queueUsers[0].name=data-team")
    (role,) = [one for one in of_kind("Role", *names) if one["metadata"]["name"].endswith("queue-users")]
    (rule,) = role["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["pods/portforward"], ["gristmill-queue-0"])
    (binding,) = [
        one for one in of_kind("RoleBinding", *names) if one["roleRef"]["name"] == role["metadata"]["name"]
    ]
    assert binding["subjects"] == [{"kind": "Group", "name": "data-team"}]
    assert not [one for one in of_kind("Role") if one["metadata"]["name"].endswith("queue-users")]


def test_crds_are_those_of_the_models() -> None:
    sources = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "files/crds").glob("*.yaml"))]
    assert [found["spec"] for found in of_kind("CustomResourceDefinition")] == [s["spec"] for s in sources]


def test_crds_stay_or_go_or_are_left_out() -> None:
    kept = {"helm.sh/resource-policy": "keep"}
    crds = "CustomResourceDefinition"
    assert all(annotations(found) == kept for found in of_kind(crds) + of_kind("Secret"))
    going = of_kind(crds, "crds.keep=false") + of_kind("Secret", "crds.keep=false")
    assert len(going) > 1
    assert not any(annotations(found) for found in going)
    assert not of_kind(crds, "crds.enabled=false")


@pytest.mark.parametrize(
    ("value", "kind"),
    [("serviceMonitor.enabled=true", "ServiceMonitor"), ("networkPolicy.enabled=true", "NetworkPolicy")],
)
def test_what_is_off(value: str, kind: str) -> None:
    assert not of_kind(kind)
    assert of_kind(kind, value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("admissionPolicy.enabled=false", "ValidatingAdmissionPolicy"), ("key.existingSecret=mine", "Secret")],
)
def test_what_can_be_left_out(value: str, kind: str) -> None:
    assert of_kind(kind)
    assert not of_kind(kind, value)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("replicas=0", "/replicas"),
        ("replicas=two", "/replicas"),
        ("crds.keeep=true", "/crds"),
        ("queue.capacity=lots", "/queue/capacity"),
        ("queue.cache=9-lives", "/queue/cache"),
        ("watch.namespaces={A_B}", "/watch/namespaces/0"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ],
)
def test_a_wrong_value_is_refused_and_named(value: str, where: str) -> None:
    result = template("--set", value)
    assert result.returncode != 0
    assert f"'{where}'" in result.stderr


@pytest.mark.parametrize(
    ("capacity", "size", "right"),
    [
        ("1Gi", "", True),
        ("1Gi", "1Gi", True),
        ("1Gi", "1100M", True),
        ("1Gi", "1G", False),
        ("512Mi", "500Mi", False),
        ("16777216", "16Mi", True),
        ("16777217", "16Mi", False),
    ],
)
def test_what_the_queue_holds_is_on_its_volume(capacity: str, size: str, right: bool) -> None:
    result = template("--set-string", f"queue.capacity={capacity},queue.size={size}")
    assert (result.returncode == 0) is right
    assert right or "queue.size: must be at least queue.capacity" in result.stderr


def test_each_installation_has_its_own_key() -> None:
    assert the_key(template().stdout) != the_key(template().stdout)


#: what `lookup` asks an API server
_ANSWERS = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "secrets", "kind": "Secret", "namespaced": True, "verbs": ["get"]}],
    },
    "/api/v1/namespaces/home/secrets/gristmill-key": {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "gristmill-key", "namespace": "home"},
        "data": {"key": base64.b64encode(b"the old key").decode()},
    },
}


class _Cluster(BaseHTTPRequestHandler):
    """As much of an API server as is needed: there is one Secret."""

    def do_GET(self) -> None:
        answer = _ANSWERS.get(self.path.split("?")[0])
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer or {"kind": "Status", "code": 404, "reason": "NotFound"}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Cluster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "current-context": "c",
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        yield path
        server.shutdown()


def test_an_upgrade_keeps_the_key(kubeconfig: Path) -> None:
    result = template("--dry-run=server", "--kubeconfig", str(kubeconfig))
    assert result.returncode == 0, result.stderr
    assert the_key(result.stdout) == "the old key"
