# Each target sets up what it needs: a virtual environment in .venv from constraints.txt, and, for those that use a
# real node, a kubelet and containerd under ~/.cache/kubelet-plugin. Nothing is installed into the system.
# Which kubelet: KUBELET=path or KUBELET_VERSION=1.31.14 (see node/fetch.sh). A node needs root.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo demo.svg build test lint format proto constraints clean
.PHONY: cdi uncdi kubelet run.kvm run.crand deploy undeploy e2e bench bench.kubelet bench.devices bench.cdi fuzz
.PHONY: image image-debug push

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9._-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make the virtual environment in .venv

$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r constraints.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Show it all on this machine alone: an embedded kubelet, a plugin, a pod (no root)
	@$(BIN)/kubelet-plugin demo $(ARGS)

demo.svg: $(STAMP) ## Draw docs/demo.svg, the picture of `make demo` in the README
	$(BIN)/python -m tools.demo_svg

cdi: $(STAMP) ## Make /dev/crand0, /dev/crand1 and CDI files in /etc/cdi, on this machine (root)
	@$(BIN)/python node/cdi.py write

uncdi: $(STAMP) ## Undo `make cdi` (root)
	@$(BIN)/python node/cdi.py remove

kubelet: ## Run a kubelet and containerd in namespaces of their own, until Ctrl-C (root)
	@NODE_CDI=host KUBELET_LOG=kubelet/kubelet.log exec bash node/node.sh foreground

run.kvm run.crand: run.%: $(STAMP)
	@exec bash node/node.sh in $(abspath $(BIN))/kubelet-plugin run $* $(ARGS)

run.kvm: ## Run the kvm plugin on the node of `make kubelet` (ARGS=, root)
run.crand: ## Run the sample plugin, for /dev/crand*, on that node (ARGS=, root)

deploy: ## Start a pod that asks for a kvm device on that node; show what it got (root)
	@$(PYTHON) node/deploy.py up

undeploy: ## Remove that pod (root)
	@$(PYTHON) node/deploy.py down

build: $(STAMP) ## Build the wheel and the sdist into dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

image: $(STAMP) ## Build the container image for amd64 and arm64 into dist/ (ARGS=--refresh: of the newest packages)
	@$(BIN)/python -m deploy.image build $(ARGS)

image-debug: $(STAMP) ## Build the image that has a shell and a debugger, too
	@$(BIN)/python -m deploy.image build --debug $(ARGS)

push: $(STAMP) ## Push the image to IMAGE_REPO=registry/name (ARGS=--debug: the other one)
	@$(BIN)/python -m deploy.image push $(ARGS)

test: $(STAMP) ## Run the unit and integration tests (ARGS=)
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(ARGS)

fuzz: $(STAMP) ## Feed 100,000 broken documents to what reads CDI specs
	$(BIN)/python -m tests.unit.cdi.fuzzing $(ARGS)

e2e: $(STAMP) ## Run the tests on a real kubelet and containerd (root)
	@bash node/node.sh check
	@sh node/fetch.sh
	@sh node/fetch.sh sample-device-plugin
	$(BIN)/python -m pytest tests/e2e $(ARGS)

bench: $(STAMP) ## Measure beside upstream's Go sample plugin; then what the other two measure
	sh node/fetch.sh sample-device-plugin
	$(BIN)/python -m benchmarks $(ARGS)
	@$(MAKE) --no-print-directory bench.cdi bench.kubelet

bench.kubelet: $(STAMP) ## Measure the embedded kubelet
	$(BIN)/python -m benchmarks.embedded

bench.devices: $(STAMP) ## Measure 500 resources and 10,000 devices from a configuration file (root)
	$(BIN)/python -m benchmarks.configured $(ARGS)

bench.cdi: $(STAMP) ## Measure the CDI command and library
	$(BIN)/python -m benchmarks.cdi

lint: $(STAMP) ## Check format, style, types and floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

proto: $(STAMP) ## Generate the message classes from the .proto files
	$(BIN)/python -m tools.generate_api

constraints: $(STAMP) ## Resolve the newest versions of all dependencies into constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --upgrade --extra dev --output-file constraints.txt pyproject.toml

clean: ## Remove what was built here (not the cache in ~/.cache/kubelet-plugin)
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
