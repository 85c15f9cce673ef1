"""What single built-in kinds add to the common rules: defaults, ClusterIPs, a namespace's service account, CRDs.

Conformance: api-clients statements 40-44.
"""

from typing import Any

from local_cluster.apiserver.addresses import AddressPool, AddressRefused, IpNetwork
from local_cluster.apiserver.defaults import DEFAULTS
from local_cluster.apiserver.errors import Cause, forbidden, invalid
from local_cluster.apiserver.objects import Policy
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.rules import finish_create
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.validation import VALIDATIONS
from local_cluster.apiserver.versions import Change, Selection

__all__ = ["BuiltInPolicy"]

_PROTECTED_NAMESPACES = ("default", "kube-system", "kube-public")


class BuiltInPolicy(Policy):
    """Defaults, addresses and side effects of built-in kinds."""

    def __init__(self, store: Store, service_network: IpNetwork) -> None:
        self._store = store
        self._addresses = AddressPool(service_network)
        store.on_change(self._changed)

    def default(self, kind: ResourceType, obj: dict[str, Any], current: dict[str, Any] | None) -> None:
        """Fill in what Kubernetes would; a Service keeps its address."""
        if kind.is_custom:
            return
        if current is not None and kind.key == "services.":
            _keep_address(obj, current)
        default = DEFAULTS.get(kind.key)
        if default is not None:
            default(obj)

    def validate(self, kind: ResourceType, obj: dict[str, Any], current: dict[str, Any] | None) -> None:
        """Check what clients rely on being refused; then a Service without address gets one."""
        if kind.is_custom:
            return
        validation = VALIDATIONS.get(kind.key)
        if validation is not None:
            causes = validation(obj, current)
            if causes:
                raise invalid(kind.group, kind.plural, kind.kind, str(obj["metadata"].get("name")), causes)

    def place(self, kind: ResourceType, obj: dict[str, Any], current: dict[str, Any] | None, *, dry_run: bool) -> None:
        """Give a Service that is about to be committed its address. Raises 422 when the wanted one is not to be had."""
        if kind.key != "services.":
            return
        spec = obj["spec"]
        if spec.get("type") == "ExternalName":
            return
        address = spec.get("clusterIP") or ""
        if address == "None":
            spec["clusterIPs"] = ["None"]
            return
        if current is None or (current.get("spec") or {}).get("clusterIP") != address or not address:
            try:
                address = self._addresses.take(address)
            except AddressRefused as error:
                cause = Cause("spec.clusterIPs", "FieldValueInvalid", f'Invalid value: ["{address}"]: {error}')
                raise invalid("", "services", "Service", obj["metadata"]["name"], [cause]) from error
            if dry_run:
                self._addresses.release(address)
        spec["clusterIP"] = address
        spec["clusterIPs"] = [address]
        spec.setdefault("ipFamilies", ["IPv6" if ":" in address else "IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def restored(self) -> None:
        """Take the addresses of the Services that were there before; one of another network gets a new one."""
        strangers = []
        for stored in self._store.collection("services.").select(Selection()):
            address = stored.fields.get("spec.clusterIP", "")
            if address and address != "None":
                try:
                    self._addresses.take(address)
                except AddressRefused:
                    strangers.append(stored.load())
        for service in strangers:
            address = self._addresses.take()
            service["spec"] |= {"clusterIP": address, "clusterIPs": [address]}
            self._store.put("services.", service)

    def refuse_deletion(self, kind: ResourceType, name: str) -> None:
        """Raise 403 for what must always be there."""
        if kind.key == "namespaces." and name in _PROTECTED_NAMESPACES:
            raise forbidden("", "namespaces", name, "this namespace may not be deleted")

    def committed(self, kind: ResourceType, obj: dict[str, Any]) -> None:
        """A namespace comes with the service account `default`, at once: controllers GET it."""
        if kind.key == "namespaces.":
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": obj["metadata"]["name"]},
            }
            finish_create(account)
            self._store.put("serviceaccounts.", account)

    def _changed(self, key: str, change: Change) -> None:
        """Give back the address of a Service that is gone or has moved."""
        if key != "services." or change.previous is None:
            return
        before = change.previous.fields.get("spec.clusterIP", "")
        if change.is_deletion or change.state.fields.get("spec.clusterIP", "") != before:
            self._addresses.release(before)


def _keep_address(service: dict[str, Any], current: dict[str, Any]) -> None:
    spec, before = service.setdefault("spec", {}), current.get("spec") or {}
    if spec.get("type") == "ExternalName" or before.get("type") == "ExternalName":
        return
    for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not spec.get(field) and before.get(field):
            spec[field] = before[field]
