"""What the dashboards show. Names of metrics: docs/{metrics,activator,autoscaler,controller,gateway,broker}.md."""

from deploy.grafana.panels import Dashboard, Panel, Query, Variable

__all__ = ["DASHBOARDS"]

_REVISION = 'k8s_namespace_name=~"$namespace", kn_revision_name=~"$revision"'
_IN_NAMESPACE = 'k8s_namespace_name=~"$namespace"'


def _quantiles(metric: str, by: str = "", where: str = "", legend: str = "") -> tuple[Query, ...]:
    """Median, 95th and 99th percentile of a histogram over five minutes."""
    labels = ", ".join(["le", *([by] if by else [])])
    buckets = f"sum by ({labels}) (rate({metric}_bucket{{{where}}}[$__rate_interval]))"
    suffix = f" {legend}" if legend else ""
    return tuple(
        Query(f"histogram_quantile({quantile}, {buckets})", f"{name}{suffix}")
        for quantile, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


_SERVING = Dashboard(
    uid="knuv-serving",
    title="Knative Serving: revisions, load and cold starts",
    variables=(
        Variable("namespace", "label_values(kn_revision_pods_count, k8s_namespace_name)"),
        Variable("revision", f"label_values(kn_revision_pods_count{{{_IN_NAMESPACE}}}, kn_revision_name)"),
    ),
    panels=(
        Panel(
            title="Cold starts by phase (p95)",
            description="Of the first request of each cold start: until the autoscaler was told (report), until a pod "
            "was usable (capacity: scheduling, pulling, the app's own start), until its response began.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.95, sum by (le, phase) "
                    "(rate(knuv_cold_start_seconds_bucket[$__rate_interval])))",
                    "{{phase}}",
                ),
            ),
        ),
        Panel(
            title="Cold starts",
            description="How many a minute, of all revisions. Many of one: raise its scale-down delay or min-scale.",
            unit="short",
            queries=(
                Query(
                    'sum(rate(knuv_cold_start_seconds_count{phase="total"}[$__rate_interval])) * 60',
                    "cold starts a minute",
                ),
            ),
        ),
        Panel(
            title="Concurrency against target",
            description="What the autoscaler sees in a pod's share of the stable window, and what one pod aims at.",
            unit="short",
            queries=(
                Query(f"kn_revision_concurrency_stable{{{_REVISION}}}", "stable {{kn_revision_name}}"),
                Query(f"kn_revision_concurrency_panic{{{_REVISION}}}", "panic {{kn_revision_name}}"),
                Query(f"kn_revision_concurrency_target{{{_REVISION}}}", "target {{kn_revision_name}}", is_limit=True),
            ),
        ),
        Panel(
            title="Pods: wanted and ready",
            description="What the load asks for, what was applied, and what is ready. A gap that stays is the "
            "cluster's: look at pending pods.",
            unit="short",
            queries=(
                Query(f"kn_revision_pods_count{{{_REVISION}}}", "ready {{kn_revision_name}}"),
                Query(f"kn_revision_pods_requested{{{_REVISION}}}", "applied {{kn_revision_name}}"),
                Query(f"kn_revision_pods_desired{{{_REVISION}}}", "wanted {{kn_revision_name}}", is_limit=True),
            ),
        ),
        Panel(
            title="Panic",
            description="1 while a revision's load over the panic window is beyond twice what its pods aim at: then it "
            "only grows.",
            unit="short",
            queries=(Query(f"kn_revision_panic_mode{{{_REVISION}}}", "{{kn_revision_name}}"),),
        ),
        Panel(
            title="Excess burst capacity",
            description="Below 0 the activator stays in the path of requests, as a buffer for bursts.",
            unit="short",
            queries=(Query(f"kn_revision_capacity_excess{{{_REVISION}}}", "{{kn_revision_name}}"),),
        ),
        Panel(
            title="Requests at the activators",
            description="Held until a pod has room, and forwarded.",
            unit="short",
            queries=(
                Query(
                    f"sum by (kn_revision_name) (kn_revision_request_queued{{{_REVISION}}})",
                    "held {{kn_revision_name}}",
                ),
                Query(
                    f"sum by (kn_revision_name) (kn_revision_request_active{{{_REVISION}}})",
                    "forwarded {{kn_revision_name}}",
                ),
            ),
        ),
        Panel(
            title="Pods that are not ready",
            description="Pending, terminating, and all that are not ready, these included.",
            unit="short",
            queries=(
                Query(f"kn_revision_pods_pending_count{{{_REVISION}}}", "pending {{kn_revision_name}}"),
                Query(f"kn_revision_pods_terminating_count{{{_REVISION}}}", "terminating {{kn_revision_name}}"),
                Query(f"kn_revision_pods_not_ready_count{{{_REVISION}}}", "not ready {{kn_revision_name}}"),
            ),
        ),
        Panel(
            title="From change to Ready (p95)",
            description="From the appearance of a generation until it is Ready: Service, Revision, Ingress.",
            unit="s",
            queries=(
                Query(
                    "histogram_quantile(0.95, sum by (le, kind) "
                    "(rate(knuv_ready_duration_seconds_bucket[$__rate_interval])))",
                    "{{kind}}",
                ),
            ),
        ),
        Panel(
            title="Reconciles that fail",
            description="A second, by loop. Conflicts are normal, failures are in the events of their objects.",
            unit="short",
            queries=(
                Query(
                    'sum by (name, result) (rate(knuv_reconcile_duration_seconds_count{result!="success"}'
                    "[$__rate_interval]))",
                    "{{name}} {{result}}",
                ),
            ),
        ),
        Panel(
            title="Asking pods for their load (p95)",
            description="How long the autoscaler took to ask a revision's pods; near 1 s it sees less than it should.",
            unit="s",
            queries=_quantiles("kn_autoscaler_scrape_duration_seconds", where=_IN_NAMESPACE),
        ),
        Panel(
            title="The gateway's Envoys",
            description="How many are connected, Ingresses that are not served yet, and refused configuration.",
            unit="short",
            queries=(
                Query("sum(knuv_gateway_xds_streams)", "Envoys"),
                Query("max(knuv_gateway_ingresses_unready)", "Ingresses that are not ready"),
                Query(
                    "sum by (type) (increase(knuv_gateway_xds_refusals_total[$__rate_interval]))", "refused {{type}}"
                ),
            ),
        ),
    ),
)

_QUEUE_PROXY = Dashboard(
    uid="knuv-queue-proxy",
    title="Knative Serving: queue-proxy",
    variables=(
        Variable("namespace", "label_values(kn_serving_invocation_duration_seconds_count, namespace)"),
        Variable("pod", 'label_values(kn_serving_invocation_duration_seconds_count{namespace=~"$namespace"}, pod)'),
    ),
    panels=(
        Panel(
            title="Requests by status",
            description="A second. 503 is the breaker's or the app's, 504 a timer's, 502 an unreachable app.",
            unit="reqps",
            is_stacked=True,
            queries=(
                Query(
                    "sum by (http_response_status_code) (rate(http_server_request_duration_seconds_count"
                    '{namespace=~"$namespace", pod=~"$pod"}[$__rate_interval]))',
                    "{{http_response_status_code}}",
                ),
            ),
        ),
        Panel(
            title="Time of requests",
            description="From arrival to the end, queueing included.",
            unit="s",
            queries=_quantiles("http_server_request_duration_seconds", where='namespace=~"$namespace", pod=~"$pod"'),
        ),
        Panel(
            title="Time in the app",
            description="From admission to the end; the difference to the panel before is queueing.",
            unit="s",
            queries=_quantiles("kn_serving_invocation_duration_seconds", where='namespace=~"$namespace", pod=~"$pod"'),
        ),
        Panel(
            title="Time to the app's first byte",
            description="From admission to the head of its response.",
            unit="s",
            queries=_quantiles("http_client_request_duration_seconds", where='namespace=~"$namespace", pod=~"$pod"'),
        ),
        Panel(
            title="Inside of the breaker",
            description="Requests that wait or run, as the last one found it. Only with a containerConcurrency.",
            unit="short",
            queries=(Query('kn_serving_queue_depth{namespace=~"$namespace", pod=~"$pod"}', "{{pod}}"),),
        ),
        Panel(
            title="Requests without a response of the app",
            description="A second, by reason: the app was unreachable, broke off, was too slow, or its client left.",
            unit="reqps",
            queries=(
                Query(
                    "sum by (error_type) (rate(http_client_request_duration_seconds_count"
                    '{namespace=~"$namespace", pod=~"$pod", error_type!=""}[$__rate_interval]))',
                    "{{error_type}}",
                ),
            ),
        ),
        Panel(
            title="Requests by tag",
            description="A second, by the tag of the Route that they came by.",
            unit="reqps",
            is_stacked=True,
            queries=(
                Query(
                    "sum by (kn_route_tag) (rate(http_server_request_duration_seconds_count"
                    '{namespace=~"$namespace", pod=~"$pod"}[$__rate_interval]))',
                    "{{kn_route_tag}}",
                ),
            ),
        ),
        Panel(
            title="Memory of the sidecar",
            description="Resident. docs/performance.md has what is to be expected.",
            unit="bytes",
            queries=(
                Query(
                    'process_memory_usage_bytes{namespace=~"$namespace", pod=~"$pod", container="queue-proxy"}',
                    "{{pod}}",
                ),
            ),
        ),
    ),
)

_BROKER = 'kn_broker_namespace=~"$namespace", kn_broker_name=~"$broker"'
_FAILED = 'http_response_status_code!~"2.."'
_OF_CHANNEL = 'kn_channel_namespace=~"$namespace"'
_WHOSE, _WHOSE_LEGEND = "messaging_destination_name", "{{messaging_destination_name}}"
_EVENTING = Dashboard(
    uid="knuv-eventing",
    title="Knative Eventing: brokers and channels",
    variables=(
        Variable("namespace", "label_values(kn_eventing_dispatch_duration_seconds_count, kn_broker_namespace)"),
        Variable(
            "broker",
            'label_values(kn_eventing_dispatch_duration_seconds_count{kn_broker_namespace=~"$namespace"},'
            " kn_broker_name)",
        ),
    ),
    panels=(
        Panel(
            title="Events by Broker",
            description="A second: what the channel of a Broker accepted, and what was sent to subscribers.",
            unit="short",
            queries=(
                Query(
                    "sum by (kn_broker_name, messaging_destination_name) "
                    f"(rate(kn_eventing_dispatch_duration_seconds_count{{{_BROKER}}}[$__rate_interval]))",
                    "{{kn_broker_name}} {{messaging_destination_name}}",
                ),
            ),
        ),
        Panel(
            title="Time of one delivery",
            description="From sending an event until its receiver's answer.",
            unit="s",
            queries=_quantiles("kn_eventing_dispatch_duration_seconds", where=_BROKER),
        ),
        Panel(
            title="Deliveries that failed, by status",
            description="A second, each attempt of the filter: what comes here is tried again by the channel. No "
            "status: no answer.",
            unit="short",
            queries=(
                Query(
                    "sum by (kn_broker_name, http_response_status_code) "
                    f"(rate(kn_eventing_dispatch_duration_seconds_count{{{_BROKER}, {_FAILED}}}[$__rate_interval]))",
                    "{{kn_broker_name}} {{http_response_status_code}}",
                ),
            ),
        ),
        Panel(
            title="Time inside of the filter",
            description="From an event's arrival until it is sent on; what is filtered out is not in it.",
            unit="s",
            queries=_quantiles("kn_eventing_process_duration_seconds", where=_BROKER),
        ),
        Panel(
            title="Events of channels, by subscription and last status",
            description="A second, once for each event and subscription, behind its last retry. What is not 2xx went "
            "to the dead letter sink or was lost.",
            unit="short",
            queries=(
                Query(
                    "sum by (messaging_destination_name, http_response_status_code) "
                    '(rate(kn_eventing_dispatch_duration_seconds_count{kn_channel_name!=""}[$__rate_interval]))',
                    "{{messaging_destination_name}} {{http_response_status_code}}",
                ),
            ),
        ),
        Panel(
            title="Events that wait, by subscription",
            description="Accepted and not delivered yet, what is under way included. Where it grows, the "
            "subscriber is slow or away.",
            unit="short",
            queries=(
                # Replicas of a stream's consumers all tell the same.
                Query(f"max by ({_WHOSE}) (knuv_eventing_backlog{{{_OF_CHANNEL}}})", _WHOSE_LEGEND),
            ),
        ),
        Panel(
            title="Lag: age of the oldest event that waits",
            description="With a subscriber that keeps up: its response time. "
            "Of streams it is as of the reading before.",
            unit="s",
            queries=(Query(f"max by ({_WHOSE}) (knuv_eventing_backlog_age_seconds{{{_OF_CHANNEL}}})", _WHOSE_LEGEND),),
        ),
        Panel(
            title="Retries, by reason",
            description="Attempts beyond the first a second, by what was answered to the one before.",
            unit="short",
            queries=(
                Query(
                    f"sum by ({_WHOSE}, reason) "
                    f"(rate(knuv_eventing_delivery_retries_total{{{_OF_CHANNEL}}}[$__rate_interval]))",
                    f"{_WHOSE_LEGEND} {{{{reason}}}}",
                ),
            ),
        ),
        Panel(
            title="Dead letters",
            description="A minute, by what became of them: sent to their sink, kept to be driven anew, or lost.",
            unit="short",
            queries=(
                Query(
                    f"sum by ({_WHOSE}, result) "
                    f"(rate(knuv_eventing_dead_letters_total{{{_OF_CHANNEL}}}[$__rate_interval])) * 60",
                    f"{_WHOSE_LEGEND} {{{{result}}}}",
                ),
            ),
        ),
        Panel(
            title="Producers that were refused",
            description="A second, by status, at the ingress, the filter and the channels.",
            unit="reqps",
            queries=(
                Query(
                    "sum by (job, http_response_status_code) (rate(http_server_request_duration_seconds_count"
                    '{job=~".*broker.*|.*dispatcher.*", http_response_status_code!~"2.."}[$__rate_interval]))',
                    "{{job}} {{http_response_status_code}}",
                ),
            ),
        ),
    ),
)

DASHBOARDS = {"serving": _SERVING, "queue-proxy": _QUEUE_PROXY, "eventing": _EVENTING}
"""File name without its ending -> dashboard."""
