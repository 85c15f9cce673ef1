"""Which images there are and what each holds: the table that the builder and the Containerfiles are made from."""

from dataclasses import dataclass

__all__ = ["COMPONENTS", "ENVIRONMENT", "USER", "Component", "entrypoint"]

USER = "65532:65532"
"""User and group ID. Numeric, so that `runAsNonRoot` can be checked without reading a file of the image; the number is
what images without a shell commonly call `nonroot`."""

ENVIRONMENT = {"LANG": "C.UTF-8", "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
"""Of every image. A variable of the pod's container overrides it."""

_INTERPRETER = (
    *("/app/bin/python", "-I", "-B"),
    # Isolated mode ignores PYTHON* variables: what the image holds is what runs. So UTF-8 is asked for here.
    *("-X", "utf8", "-X", "frozen_modules=on"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One image."""

    name: str
    """Last part of the image's name."""
    description: str
    """For people who look at the image."""
    module: str
    """What the entrypoint runs."""
    packages: tuple[str, ...]
    """Our packages in it."""
    extra: str
    """Of `pyproject.toml`, or several with commas: which libraries are in it."""
    ports: tuple[int, ...] = ()
    """TCP ports that it opens, for `ExposedPorts`."""
    roles: tuple[str, ...] = ("",)
    """Arguments of which one must be given; an empty one: none need be."""


COMPONENTS = (
    Component(
        name="queue-proxy",
        description="Knative Serving's queue-proxy: limits, times and counts the requests of one revision pod",
        module="queue_proxy",
        packages=("proxies", "queue_proxy"),
        extra="queue-proxy",
        ports=(8012, 8013, 8022, 8112, 9090, 9091),
    ),
    Component(
        name="activator",
        description="Knative Serving's activator: holds requests while a revision has no pod with room for them",
        module="activator",
        packages=("proxies", "kube", "activator"),
        extra="activator",
        ports=(8012, 8013, 8112, 9090),
    ),
    Component(
        name="autoscaler",
        description="Knative Serving's autoscaler (KPA): decides how many pods each revision has",
        module="autoscaler",
        packages=("proxies", "kube", "autoscaler"),
        extra="autoscaler",
        ports=(8080, 9090),
    ),
    Component(
        name="controller",
        description="Knative's controllers; with the argument `webhook` their admission webhook",
        module="controller",
        packages=("proxies", "kube", "eventing", "controller"),
        extra="controller",
        roles=("", "webhook"),
        ports=(8443, 9090),
    ),
    Component(
        name="gateway",
        description="Programs Envoy with Knative's Ingresses over xDS",
        module="gateway",
        packages=("proxies", "kube", "gateway"),
        extra="gateway",
        ports=(18000,),
    ),
    Component(
        name="broker",
        description="Knative Eventing's broker, channels and JobSinks: `ingress`, `filter`, `dispatcher` or `job-sink`",
        module="broker",
        packages=("proxies", "kube", "eventing", "broker"),
        extra="broker,jetstream",
        roles=("ingress", "filter", "dispatcher", "job-sink"),
        ports=(8080, 8443, 9090, 9092),
    ),
    Component(
        name="sources",
        description="Knative Eventing's sources: with the argument `ping`, `apiserver` or `jetstream`",
        module="sources",
        packages=("proxies", "kube", "eventing", "sources"),
        extra="sources,jetstream",
        roles=("ping", "apiserver", "jetstream"),
        ports=(9090,),
    ),
)


def entrypoint(component: Component) -> list[str]:
    """The command of the image, without arguments."""
    return [*_INTERPRETER, "-m", component.module]
