"""DomainMapping: a domain of one's own that leads to a Service, a Route, or anything else with a cluster address.

The domain belongs to one namespace, which a ClusterDomainClaim says. Requests are sent to the target's own host on the
gateway's cluster-local face. Source: knative/serving `pkg/reconciler/domainmapping`; spec control-plane.md 10.
"""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from controller import certificates, ingress, keys
from controller.certificates import Provisioned, Provisioner
from controller.cluster import Cluster
from controller.collection import NOT_OWNED_RETRY_S, Reconciler, happy_condition
from kube.conditions import Conditions, ConditionSet
from kube.models import networking
from kube.models.serving import DomainMapping, DomainMappingStatus
from kube.names import child_name

__all__ = ["CONDITIONS", "DomainMappingReconciler", "ingress_for"]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet(("DomainClaimed", "ReferenceResolved", "IngressReady", "CertificateProvisioned"))


class Unresolved(Exception):
    """The target has no address that traffic could be sent to; the text is for the condition."""


class DomainMappingReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._provisioner = Provisioner(cluster)

    def reconciler(self) -> Reconciler[DomainMapping]:
        """The envelope for this kind."""
        return Reconciler(
            self._cluster.domain_mappings, CONDITIONS, self.reconcile, self._cluster.now_s, finalize=self.finalize
        )

    async def reconcile(
        self, mapping: DomainMapping, status: DomainMappingStatus, conditions: Conditions
    ) -> float | None:
        """One pass."""
        if status.observed_generation != mapping.metadata.generation:
            _mark_not_configured(conditions)
        _tell_url(status, self._cluster.settings.network.default_external_scheme, mapping.name)
        if not await self._claim(mapping, conditions):
            return None
        provided = await self._tls(mapping, conditions)
        if provided.not_owned:
            return NOT_OWNED_RETRY_S
        if provided.secure_hosts:
            _tell_url(status, "https", mapping.name)
        elif provided.downgraded:
            _tell_url(status, "http", mapping.name)
        try:
            target = self._target(mapping)
        except Unresolved as error:
            conditions.mark_false("ReferenceResolved", "ResolveFailed", str(error))
            return None
        conditions.mark_true("ReferenceResolved")
        wanted = ingress_for(mapping, target, provided, self._cluster)
        collection = self._cluster.ingresses
        existing = collection.get(mapping.namespace, wanted["metadata"]["name"])
        if existing is None:
            existing = await collection.create(wanted)
        elif not existing.is_controlled_by(mapping):
            message = f'There is an existing Ingress "{existing.name}" that we do not own.'
            conditions.mark_false("IngressReady", "NotOwned", message)
            return NOT_OWNED_RETRY_S
        elif (operations := ingress.drift_patch(existing, wanted)) is not None:
            existing = await collection.patch(existing, operations, type="json")
        _copy_ingress(existing, conditions)
        return None

    async def finalize(self, mapping: DomainMapping) -> None:
        """Give the domain back when claims are made and taken back for the users."""
        if not self._cluster.settings.network.autocreate_cluster_domain_claims:
            return
        claim = self._cluster.claims.get("", mapping.name)
        if claim is not None and claim.spec.namespace == mapping.namespace:
            await self._cluster.claims.delete(claim)

    async def _claim(self, mapping: DomainMapping, conditions: Conditions) -> bool:
        """Whether the domain is this namespace's to map."""
        claim = self._cluster.claims.get("", mapping.name)
        if claim is None and self._cluster.settings.network.autocreate_cluster_domain_claims:
            claim = await self._cluster.claims.create(
                {
                    "apiVersion": networking.ClusterDomainClaim.RESOURCE.api_version,
                    "kind": "ClusterDomainClaim",
                    "metadata": {"name": mapping.name},
                    "spec": {"namespace": mapping.namespace},
                }
            )
        if claim is None:
            text = f'no ClusterDomainClaim found for domain "{mapping.name}"'
        elif claim.spec.namespace != mapping.namespace:
            text = f'The domain name "{mapping.name}" is already in use in a different namespace'
        else:
            conditions.mark_true("DomainClaimed")
            return True
        conditions.mark_false("DomainClaimed", "DomainAlreadyClaimed", text)
        return False

    async def _tls(self, mapping: DomainMapping, conditions: Conditions) -> Provisioned:
        network = self._cluster.settings.network
        if mapping.spec.tls is not None and mapping.spec.tls.secret_name:
            conditions.mark_true(
                "CertificateProvisioned", "CertificateExternallyProvided", "Certificate was externally provided."
            )
            entry = {
                "hosts": [mapping.name],
                "secretName": mapping.spec.tls.secret_name,
                "secretNamespace": mapping.namespace,
            }
            return Provisioned(tls=[entry], secure_hosts={mapping.name})
        if not network.external_domain_tls or certificates.is_disabled(mapping.metadata.annotations):
            conditions.mark_true("CertificateProvisioned", "TLSNotEnabled", "external-domain-tls is not enabled")
            return Provisioned()
        wanted = certificates.want(
            mapping,
            certificates.name_for_mapping(mapping.name),
            [mapping.name],
            "",
            type_=certificates.EXTERNAL,
            default_class=network.certificate_class,
        )
        return await self._provisioner.provide(mapping, [wanted], conditions)

    def _target(self, mapping: DomainMapping) -> str:
        """The target's cluster host. Raises `Unresolved`."""
        ref = mapping.spec.ref
        namespace = ref.namespace or mapping.namespace
        url = self._address_of(ref.api_version, ref.kind, namespace, ref.name)
        parts = urlsplit(url)
        domain = f".svc.{self._cluster.cluster_domain}"
        if parts.path.strip("/"):
            raise Unresolved(f'resolved URI "{url}" contains a path')
        labels = (parts.hostname or "").removesuffix(domain).split(".")
        if not (parts.hostname or "").endswith(domain) or len(labels) != 2:
            raise Unresolved(f'resolved URI "{url}" must be of the form {{name}}.{{namespace}}{domain}')
        if labels[1] != mapping.namespace:
            raise Unresolved(f'resolved URI "{url}" must be in same namespace as DomainMapping')
        return str(parts.hostname)

    def _address_of(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        cluster = self._cluster
        if api_version == "v1" and kind == "Service":
            if cluster.core_services.get(namespace, name) is None:
                raise Unresolved(f'services "{name}" not found')
            return f"http://{name}.{namespace}.svc.{cluster.cluster_domain}"
        if not api_version.startswith("serving.knative.dev/") or kind not in ("Service", "Route"):
            raise Unresolved(
                f"{api_version} {kind} has no address: expected a Service or Route of Knative, or a Service"
            )
        found = (cluster.services if kind == "Service" else cluster.routes).get(namespace, name)
        if found is None:
            raise Unresolved(f'{kind.lower()}s.serving.knative.dev "{name}" not found')
        url = (found.status.address or {}).get("url", "")
        if not url:
            raise Unresolved(f"address not set for {kind} {namespace}/{name}")
        return url


def ingress_for(mapping: DomainMapping, target: str, provided: Provisioned, cluster: Cluster) -> JsonObject:
    """The Ingress: the domain, rewritten to the target's own host. Raises `ingress.HttpOptionError`."""
    settings = cluster.settings
    meta = mapping.metadata
    split = {
        "serviceNamespace": meta.namespace,
        "serviceName": target.partition(".")[0],
        "servicePort": 80,
        "percent": 100,
        "appendHeaders": {"K-Original-Host": mapping.name},
    }
    rule = {
        "hosts": [mapping.name],
        "visibility": ingress.PUBLIC,
        "http": {"paths": [{"rewriteHost": target, "splits": [split]}]},
    }
    rules = ingress.with_challenges([rule], provided.challenges, keep_others=True)
    annotations = keys.without(meta.annotations, (keys.LAST_APPLIED, keys.CERTIFICATE_CLASS[1], keys.INGRESS_CLASS[1]))
    chosen = keys.first_present(meta.annotations, keys.INGRESS_CLASS) or settings.network.ingress_class
    return {
        "apiVersion": networking.Ingress.RESOURCE.api_version,
        "kind": "Ingress",
        "metadata": {
            "name": child_name(mapping.name, ""),
            "namespace": meta.namespace,
            "labels": {
                **meta.labels,
                keys.DOMAIN_MAPPING_UID: meta.uid,
                keys.DOMAIN_MAPPING_NAMESPACE: meta.namespace,
            },
            "annotations": {**annotations, keys.INGRESS_CLASS[0]: chosen},
            "ownerReferences": [msgspec.to_builtins(mapping.owner_reference())],
        },
        "spec": {
            **({"tls": provided.tls} if provided.tls else {}),
            "httpOption": ingress.http_option(meta.annotations, settings),
            "rules": rules,
        },
    }


def _tell_url(status: DomainMappingStatus, scheme: str, host: str) -> None:
    status.url = f"{scheme}://{host}"
    status.address = {"url": status.url}


def _mark_not_configured(conditions: Conditions) -> None:
    conditions.mark_unknown("IngressReady", "IngressNotConfigured", "Ingress has not yet been reconciled.")


def _copy_ingress(existing: networking.Ingress, conditions: Conditions) -> None:
    ready = happy_condition(existing.status)
    if ready is None or existing.status.observed_generation != existing.metadata.generation:
        _mark_not_configured(conditions)
    elif ready.status == "True":
        conditions.mark_true("IngressReady")
    elif ready.status == "False":
        conditions.mark_false("IngressReady", ready.reason, ready.message)
    else:
        conditions.mark_unknown("IngressReady", ready.reason, ready.message)
