"""Where spans go and which are kept: `tracing-*` of ConfigMap `config-observability`, and the variables over it.

Read once, at start. Source: knative.dev/pkg `observability/tracing`; spec activator.md 2.3 and 14, control-plane.md 11.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from proxies import gotext
from proxies.environment import Environment

if TYPE_CHECKING:
    from proxies.logs import Logger
    from proxies.otlp import Endpoint
    from proxies.spans import Sampler

__all__ = ["TracingSettings"]

_PROTOCOLS: Final = ("none", "grpc", "http/protobuf", "stdout")
_PUSHED: Final = ("grpc", "http/protobuf")


class TracingSettings(NamedTuple):
    """All of it."""

    protocol: str = "none"
    """One of `_PROTOCOLS`; `grpc` is not spoken here."""
    otlp: "Endpoint | None" = None
    """Where spans are pushed to; only with `http/protobuf`."""
    sampling_rate: float = 0.0
    """`tracing-sampling-rate`, from 0 to 1."""
    sampler: str = ""
    """`OTEL_TRACES_SAMPLER`; empty: the rate decides."""
    sampler_argument: str = ""
    """`OTEL_TRACES_SAMPLER_ARG`; without a `sampler` it is empty or a number."""

    @classmethod
    def read(cls, data: Mapping[str, str], variables: Mapping[str, str], *, config_map: str) -> "TracingSettings":
        """Read the ConfigMap's data. Raises `ConfigError` with everything that is wrong, naming `config_map`."""
        env = Environment(variables)
        protocol, endpoint = data.get("tracing-protocol") or "none", data.get("tracing-endpoint", "")
        rate = 0.0
        for problem in _problems(protocol, endpoint):
            env.refuse(f"ConfigMap {config_map}: {problem}")
        try:
            rate = gotext.parse_float(data.get("tracing-sampling-rate") or "0")
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"expected a number from 0 to 1, got {rate:g}")
        except ValueError as error:
            env.refuse(f"ConfigMap {config_map}: tracing-sampling-rate: {error}")
        otlp = None
        if protocol == "http/protobuf" and endpoint:
            from proxies.otlp import endpoint_of

            source = f"ConfigMap {config_map}: tracing-endpoint"
            otlp = endpoint_of(env, "traces", endpoint, endpoint_from=source)
        sampler, argument = env.text("OTEL_TRACES_SAMPLER", ""), env.text("OTEL_TRACES_SAMPLER_ARG", "")
        if protocol != "none" and argument and not sampler:
            env.parsed("OTEL_TRACES_SAMPLER_ARG", gotext.parse_float, 0.0, 0.0)
        env.finish()
        return cls(protocol, otlp, rate, sampler, argument)

    @property
    def is_on(self) -> bool:
        """Whether spans are made."""
        return self.protocol in ("http/protobuf", "stdout")

    def sampling(self, log: "Logger") -> "Sampler":
        """Return what says which traces are kept."""
        # Only where spans are made.
        from proxies.traced import sampler_of

        return sampler_of(
            self.sampling_rate,
            name=self.sampler,
            argument=self.sampler_argument,
            is_always_on=self.protocol == "stdout",
            logger=log,
        )


def _problems(protocol: str, endpoint: str) -> list[str]:
    if protocol not in _PROTOCOLS:
        return [f'tracing-protocol: expected one of {", ".join(_PROTOCOLS)}, got "{protocol}"']
    if protocol in _PUSHED and not endpoint:
        return [f"tracing-endpoint: expected one with protocol {protocol}"]
    if protocol not in _PUSHED and endpoint:
        return [f"tracing-endpoint: expected none with protocol {protocol}"]
    return []
