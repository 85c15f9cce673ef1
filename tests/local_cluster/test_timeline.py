"""A cold start put together from events."""

import json
from pathlib import Path

from local_cluster.timeline import assemble, read_events

POD = "hello-00001-deployment-abc-xyz"


def write_logs(state_dir: Path) -> None:
    """What the components of a stack would have logged around second 1000, as they lay it out."""
    pods = state_dir / "logs" / "pods"
    lines = {
        state_dir / "logs" / "access.log": [{"authority": "hello", "start_time": "1970-01-01T00:16:40.001000Z"}],
        state_dir / "logs" / "knuv.log": [
            {
                "message": "container_started",
                "pod": POD,
                "container": "queue-proxy",
                "pod_seen": 1000.01,
                "spawned": 1000.011,
            },
            {
                "message": "container_started",
                "pod": POD,
                "container": "user-container",
                "pod_seen": 1000.01,
                "spawned": 1000.012,
            },
            {"message": "container_started", "pod": "other-1", "container": "c", "pod_seen": 1000.0, "spawned": 1000.0},
        ],
        pods / "knative-serving_activator-1_u" / "activator" / "0.log": [
            {
                "message": "cold_start_released",
                "revision": "hello-00001",
                "first_arrived": 1000.002,
                "capacity_at": 1000.07,
            },
            {"message": "cold_start_released", "revision": "other", "first_arrived": 1000.0, "capacity_at": 1000.0},
        ],
        pods / "knative-serving_autoscaler-1_u" / "autoscaler" / "0.log": [
            {
                "message": "scale_applied",
                "revision": "hello-00001",
                "stat_received": 1000.003,
                "decided": 1000.004,
                "patched": 1000.006,
            },
        ],
        pods / f"default_{POD}_u" / "user-container" / "0.log": [{"message": "listening", "at": 1000.05}],
        pods / f"default_{POD}_u" / "queue-proxy" / "0.log": [
            {"message": "listening", "logger": "queueproxy", "pod": POD, "at": 1000.02},
            {"message": "app_ready", "logger": "queueproxy", "pod": POD, "at": 1000.06},
        ],
    }
    for path, events in lines.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = "1970-01-01T00:16:40Z stdout F " if "pods" in path.parts else ""
        stamp = {} if path.name == "access.log" else {"timestamp": "1970-01-01T00:16:40.05Z"}
        path.write_text("noise\n" + "".join(f"{prefix}{json.dumps(stamp | event)}\n" for event in events) + "{half")


def test_the_phases_follow_the_request_and_the_apps_share_is_set_apart(tmp_path: Path) -> None:
    write_logs(tmp_path)
    events = read_events(tmp_path, since=999.9)
    cold = assemble(events, revision="hello-00001", sent=1000.0, first_byte=1000.08)
    assert cold.missing == ()
    assert [(phase.name, round(phase.seconds * 1000)) for phase in cold.phases] == [
        ("gateway", 1),
        ("activator", 1),
        ("stat push", 1),
        ("decision", 1),
        ("scale patch", 2),
        ("pod seen by the node", 4),
        ("process spawn", 2),
        ("app boot", 38),
        ("queue-proxy ready", 10),
        ("capacity at the activator", 10),
        ("first byte", 10),
    ]
    assert round(cold.total_s * 1000) == 80
    assert round(cold.ours_s * 1000) == 40


def test_what_nobody_logged_is_named_and_its_time_goes_to_the_next_phase(tmp_path: Path) -> None:
    write_logs(tmp_path)
    events = [event for event in read_events(tmp_path, since=999.9) if event["message"] != "scale_applied"]
    cold = assemble(events, revision="hello-00001", sent=1000.0, first_byte=1000.08)
    assert cold.missing == ("stat push", "decision", "scale patch")
    assert round(sum(phase.seconds for phase in cold.phases) * 1000) == 80


def test_events_of_earlier_requests_are_left_out(tmp_path: Path) -> None:
    write_logs(tmp_path)
    assert read_events(tmp_path, since=2000.0) == []
