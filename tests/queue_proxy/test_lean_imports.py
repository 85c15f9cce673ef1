"""Which modules a queue-proxy that runs has not loaded, and that they come when they are asked for."""

import json
import subprocess
import sys

import pytest

from queue_proxy.lean_imports import wants_tls

POSTPONED = {"_ssl", "ast", "dis", "tokenize", "_locale"}


def run(script: str, **environ: str) -> object:
    """What a fresh interpreter prints as JSON after `postpone`."""
    text = f"import json, sys; from queue_proxy import lean_imports; lean_imports.postpone({environ!r})\n{script}"
    done = subprocess.run([sys.executable, "-S", "-c", text], check=True, stdout=subprocess.PIPE, env=path())
    return json.loads(done.stdout)


def path() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(part for part in sys.path if part)}


def test_what_a_proxy_does_not_use_is_not_loaded() -> None:
    loaded = run("import queue_proxy.__main__; print(json.dumps(list(sys.modules)))")
    assert isinstance(loaded, list)
    assert not POSTPONED & set(loaded)


def test_a_module_that_is_asked_for_comes_in_the_stand_ins_place() -> None:
    script = """
import inspect as held, asyncio
def f(a): ...
told = str(held.signature(f))
import inspect
print(json.dumps([told, held is not inspect, held.signature is inspect.signature, inspect.__spec__ is not None]))
"""
    assert run(script) == ["(a)", True, True, True]


def test_a_traceback_still_shows_its_lines() -> None:
    script = """
import asyncio, traceback
try:
    json.loads("x")
except ValueError:
    print(json.dumps("raise JSONDecodeError" in traceback.format_exc()))
"""
    assert run(script) is True


def test_coroutine_functions_are_told_from_others() -> None:
    script = """
import functools, inspect
class A:
    async def method(self): ...
async def coroutine(): ...
def generator(): yield
print(json.dumps([inspect.iscoroutinefunction(each) for each in (
        coroutine, A().method, functools.partial(coroutine), functools.partial(generator), generator, A, 1)]
    + [inspect.isgenerator(generator()), inspect.isgenerator(generator), "ast" in sys.modules]))
"""
    assert run(script) == [True, True, True, False, False, False, False, True, False, False]


def test_annotations_of_a_class_are_told_without_inspect_and_others_by_it() -> None:
    script = """
import inspect
class A:
    a: int
class B(A): ...
def f(b: "str"): ...
get = inspect.get_annotations
told = [list(get(each)) for each in (A, B, int)] + ["ast" in sys.modules]
told += [get(f), get(f, eval_str=True)["b"] is str, inspect.signature is not None, get(f), list(get(A))]
print(json.dumps(told))
"""
    assert run(script) == [["a"], [], [], False, {"b": "str"}, True, True, {"b": "str"}, ["a"]]


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"QUEUE_SERVING_TLS_PORT": "8112"}, False),
        ({"QUEUE_PROXY_TLS_MIN_VERSION": ""}, False),
        ({"SERVING_READINESS_PROBE": '{"httpGet":{"scheme":"HTTPS"}}'}, True),
        ({"SERVING_READINESS_PROBE": '{"httpGet":{"scheme":"https"}}'}, True),
        ({"SERVING_CONFIGURATION": "https-app"}, False),
        ({"METRICS_PROMETHEUS_TLS_CERT": "/tls.crt"}, True),
        ({"OBSERVABILITY_CONFIG": '{"tracing":{"protocol":"stdout","endpoint":"https://collector"}}'}, True),
        ({"OBSERVABILITY_CONFIG": '{"requestMetrics":{"protocol":"http/protobuf","endpoint":"c:4318"}}'}, True),
        ({"OBSERVABILITY_CONFIG": '{"requestMetrics":{"protocol":"prometheus"}}'}, False),
    ],
)
def test_ssl_is_left_alone_where_something_hints_at_tls(environ: dict[str, str], wanted: bool) -> None:
    assert wants_tls(environ) is wanted
    assert run("import uvloop; print(json.dumps('_ssl' in sys.modules))", **environ) is wanted
