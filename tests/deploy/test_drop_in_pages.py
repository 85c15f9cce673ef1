"""Every command in docs/drop-in and docs/install.md, run in order against an API server.

For docs/drop-in it has what the originals install, which must be as it was at the end of each page.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kube.client import Client
from kube.models.apps import Deployment
from kube.models.core import ConfigMap
from tests.deploy.manifests import KUBECTL, MANIFESTS, rendered_objects
from tests.deploy.originals import original
from tests.support.api import RunningApiServer, running_api_server

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "drop-in").glob("*.md"))


def commands(page: Path) -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


@pytest_asyncio.fixture
async def api() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as running, Client(running.config) as client:
        installed = [each for overlay in _overlays() for each in original(overlay)]
        autoscaler = next(each for each in installed if each["metadata"]["name"] == "autoscaler")
        other = json.loads(json.dumps(autoscaler).replace('"autoscaler"', '"autoscaler-hpa"'))
        for namespace in ("knative-serving", "knative-eventing"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await client.raw("POST", "/api/v1/namespaces", body=json.dumps(body).encode())
        for each in (*installed, other):
            path = "/api/v1" if each["kind"] == "ConfigMap" else "/apis/apps/v1"
            path += f"/namespaces/{each['metadata']['namespace']}/{each['kind'].lower()}s"
            await client.raw("POST", path, body=json.dumps(each).encode())
        rolling_out = asyncio.get_running_loop().create_task(_roll_out(client))
        yield running
        rolling_out.cancel()
        await asyncio.wait([rolling_out])


def _overlays() -> list[str]:
    return [f"drop-in/{page.stem}" for page in PAGES if page.stem != "README"]


async def _roll_out(client: Client) -> None:
    """Every Deployment's pods are there at once: nothing runs on this server."""
    while True:
        for found in (await client.list(Deployment)).items:
            replicas = 1 if found.spec.replicas is None else found.spec.replicas
            if found.status.observed_generation < found.metadata.generation:
                counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
                status = {"observedGeneration": found.metadata.generation, **counts}
                path = Deployment.RESOURCE.path(found.namespace, found.name, "status")
                body = json.dumps({"status": status}).encode()
                await client.raw("PATCH", path, body=body, content_type="application/merge-patch+json")
        await asyncio.sleep(0.05)


async def _state(client: Client) -> dict[str, object]:
    """What a page may not leave changed: containers, settings, replicas, rights."""
    sidecar = (await client.get(ConfigMap, "config-deployment", "knative-serving")).data
    found: dict[str, object] = {"sidecar": sidecar}
    for each in (await client.list(Deployment)).items:
        found[each.name] = each.spec.template["spec"]["containers"]
    for kind in ("clusterroles", "clusterrolebindings", "roles", "rolebindings"):
        answer = json.loads(await client.raw("GET", f"/apis/rbac.authorization.k8s.io/v1/{kind}"))
        found[kind] = [each["metadata"]["name"] for each in answer["items"]]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_commands_of_a_page_work_from_its_top_to_its_end(
    page: Path, api: RunningApiServer, tmp_path: Path
) -> None:
    async with Client(api.config) as client:
        before = await _state(client)
        out = await _run(page, api, tmp_path)
        if page.stem != "README":
            # It went there, and came back.
            assert "serverside-applied" in out
            assert await _state(client) == before


async def test_the_commands_of_an_installation_leave_nothing_at_its_end(tmp_path: Path) -> None:
    async with running_api_server() as api, Client(api.config) as client:
        out = await _run(ROOT / "docs" / "install.md", api, tmp_path)
        assert out.count("serverside-applied") == 2 * len(rendered_objects("full"))
        assert (await client.list(Deployment)).items == []


async def _run(page: Path, api: RunningApiServer, folder: Path) -> str:
    """Run a page's commands beside a copy of the manifests; what they printed."""
    shutil.copytree(MANIFESTS, folder / "deploy" / "manifests", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    environment = {"PATH": f"{KUBECTL.parent}:{os.defpath}", "KUBECONFIG": str(api.kubeconfig), "HOME": str(folder)}
    # To wait, kubectl asks for each object that it has deleted, five a second; here they are gone at once.
    text = commands(page).replace("kubectl delete ", "kubectl delete --wait=false ")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -eu\n{text}"),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    # Hundreds of objects, each a request or two of a program that a busy machine runs slowly.
    out, _ = await asyncio.wait_for(process.communicate(), 200)
    assert process.returncode == 0, out.decode()
    return out.decode()


def test_every_overlay_has_its_page() -> None:
    names = {path.name for path in (MANIFESTS / "drop-in").iterdir()}
    assert names == {page.stem for page in PAGES} - {"README"}


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, ROOT / "docs" / "install.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_autoscalers_rights_are_the_same_beside_the_originals() -> None:
    def rules(overlay: str) -> dict[str, object]:
        return {
            f"{each['kind']} {each['metadata']['name']}": each["rules"]
            for each in rendered_objects(overlay)
            if each["kind"] in ("Role", "ClusterRole") and each["metadata"]["name"] == "knuv-autoscaler"
        }

    assert rules("drop-in/autoscaler") == rules("full/serving")
    assert len(rules("drop-in/autoscaler")) == 2
