"""The layers of the project, as `docs/architecture.md` draws them: dependencies point downward only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = ("queue_proxy", "activator", "autoscaler", "controller", "gateway", "broker", "sources")
ALLOWED = {
    "proxies": set(),
    "queue_proxy": {"proxies"},
    "kube": {"proxies"},
    "eventing": {"kube", "proxies"},
    **{service: {"kube", "proxies"} for service in SERVICES if service != "queue_proxy"},
    **{service: {"eventing", "kube", "proxies"} for service in ("broker", "controller", "sources")},
    "local_cluster": {"eventing", "kube", "proxies", *SERVICES},
    "loadtests": {"eventing", "kube", "proxies", "local_cluster", *SERVICES},
    "deploy": {"eventing", "kube", "proxies", "local_cluster", *SERVICES},
}


def imports_of(package: str) -> dict[str, set[str]]:
    """Our own packages that each module of `package` imports, anywhere in its text."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.partition(".")[0])
        found[str(path.relative_to(ROOT))] = names & set(ALLOWED)
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_stands_below_it(package: str) -> None:
    wrong = {
        module: sorted(names - ALLOWED[package] - {package})
        for module, names in imports_of(package).items()
        if names - ALLOWED[package] - {package}
    }
    assert wrong == {}


def test_every_package_of_the_project_has_its_layer() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(ALLOWED)
