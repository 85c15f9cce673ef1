"""kubectl and the owners of fields: applying on the server, conflicts, force, and coming from client-side apply."""

import json
import shutil
from pathlib import Path

import pytest

from tests.local_cluster.apiserver.raw import DEPLOYMENTS, Api
from tests.local_cluster.apiserver.test_kubectl import DEPLOYMENT, Kubectl
from tests.support.api import RunningApiServer


@pytest.fixture
def kubectl(running: RunningApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl(running.kubeconfig, tmp_path)


async def managers(api: Api) -> dict[str, str]:
    owned = (await api.get(f"{DEPLOYMENTS}/web")).data["metadata"].get("managedFields", [])
    return {entry["manager"]: entry["operation"] for entry in owned}


async def test_two_managers_conflict_until_one_forces(kubectl: Kubectl, api: Api) -> None:
    await kubectl("apply --server-side --field-manager=one -f -", DEPLOYMENT)
    changed = DEPLOYMENT.replace("app:1", "app:2")
    refused = await kubectl("apply --server-side --field-manager=two -f -", changed, code=1)
    assert 'conflict with "one"' in refused
    assert '.spec.template.spec.containers[name="app"].image' in refused
    forced = await kubectl("apply --server-side --field-manager=two --force-conflicts -f -", changed)
    assert forced == "deployment.apps/web serverside-applied\n"
    assert await managers(api) == {"one": "Apply", "two": "Apply"}
    refused = await kubectl("apply --server-side --field-manager=one -f -", DEPLOYMENT, code=1)
    assert 'conflict with "two"' in refused


async def test_what_a_manifest_no_longer_says_goes(kubectl: Kubectl, api: Api) -> None:
    await kubectl("apply --server-side -f -", DEPLOYMENT)
    await kubectl("apply --server-side -f -", DEPLOYMENT.replace('        - {name: B, value: "2"}\n', ""))
    env = "{.spec.template.spec.containers[0].env[*].name}"
    assert await kubectl(f"get deploy web -o jsonpath={env}") == "A"
    assert await managers(api) == {"kubectl": "Apply"}


async def test_scaling_is_somebody_elses_and_applying_leaves_it_alone(kubectl: Kubectl, api: Api) -> None:
    await kubectl("apply --server-side -f -", DEPLOYMENT)
    await kubectl("scale deploy web --replicas=4")
    await kubectl("apply --server-side -f -", DEPLOYMENT.replace("app:1", "app:2"))
    assert await kubectl("get deploy web -o jsonpath={.spec.replicas}") == "4"


async def test_client_side_apply_goes_over_to_the_server_without_conflict(kubectl: Kubectl, api: Api) -> None:
    await kubectl("apply -f -", DEPLOYMENT)
    assert await managers(api) == {"kubectl-client-side-apply": "Update"}
    applied = await kubectl("apply --server-side -f -", DEPLOYMENT.replace("app:1", "app:2"))
    assert "deployment.apps/web serverside-applied" in applied
    assert "app:2" in await kubectl("get deploy web -o yaml")
    assert (await managers(api))["kubectl"] == "Apply"


async def test_owners_are_shown_when_asked_for(kubectl: Kubectl) -> None:
    await kubectl("apply --server-side -f -", DEPLOYMENT)
    assert "managedFields" not in await kubectl("get deploy web -o yaml")
    shown = json.loads(await kubectl("get deploy web -o json --show-managed-fields"))
    fields = shown["metadata"]["managedFields"][0]["fieldsV1"]
    assert 'k:{"name":"app"}' in fields["f:spec"]["f:template"]["f:spec"]["f:containers"]


async def test_diff_tells_what_applying_on_the_server_would_change(kubectl: Kubectl) -> None:
    await kubectl("apply --server-side -f -", DEPLOYMENT)
    if shutil.which("diff") is None:
        pytest.skip("kubectl diff needs the program diff")
    changed = await kubectl("diff --server-side -f -", DEPLOYMENT.replace("app:1", "app:2"), code=1)
    assert "app:2" in changed
