# Every command of the house. `make` alone lists them.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The first interpreter that is new enough; looked for only when a venv has to be made.
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$candidate && break; done)

PROTOS := $(sort $(shell find protos -name '*.proto'))
SERVICE_PROTOS := $(sort $(shell grep -rl --include='*.proto' '^service ' protos))

# What renders the generated pages of docs/, as arguments to python.
DOCS_GENERATOR := -m governor.docs

# The contract that `check` compares with: the newest tag, else the first commit that holds one.
BREAKING_AGAINST ?= $(shell git describe --tags --abbrev=0 2>/dev/null \
	|| git log --first-parent --reverse --format=%H -- protos 2>/dev/null | head -n 1)

PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) ## Make .venv and install Governor with its tools into it (quick when nothing changed)

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Governor needs Python 3.11 or newer, and none was found: install one, or say PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Compiles protos/ into the source root $(1).
define compile_stubs
	@rm -rf $(1)/governance
	@mkdir -p $(1)/governance/v1
	$(BIN)/python -m grpc_tools.protoc -I protos \
		--plugin=$(BIN)/protoc-gen-mypy --python_out=$(1) --mypy_out=quiet:$(1) $(PROTOS)
	$(if $(SERVICE_PROTOS),$(BIN)/python -m grpc_tools.protoc -I protos \
		--plugin=$(BIN)/protoc-gen-mypy_grpc --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(SERVICE_PROTOS))
	@echo '"""Stubs compiled from protos/governance: never edited, made by `make generate`."""' > $(1)/governance/__init__.py
	@echo '"""Version 1 of the contract."""' > $(1)/governance/v1/__init__.py
	@touch $(1)/governance/py.typed
endef

.PHONY: generate
generate: setup ## Compile protos/ into generated/ and render the generated pages of docs/
	$(call compile_stubs,generated)
	$(BIN)/python $(DOCS_GENERATOR)

.PHONY: check
check: check-format check-lint check-types check-imports check-protos check-breaking check-stubs check-docs ## Everything that is read and not run: format, lint, types, layers, contract, stubs, pages

.PHONY: check-format
check-format: setup
	$(BIN)/ruff format --check

.PHONY: check-lint
check-lint: setup
	$(BIN)/ruff check

.PHONY: check-types
check-types: setup
	$(BIN)/mypy

.PHONY: check-imports
check-imports: setup
	$(BIN)/lint-imports

.PHONY: check-protos
check-protos: setup
	$(BIN)/buf lint protos
	$(BIN)/buf format protos --diff --exit-code

.PHONY: check-breaking
check-breaking: setup
ifeq ($(strip $(BREAKING_AGAINST)),)
	@echo "buf breaking: nothing to compare with (no git history here that holds protos/)"
else
	@rm -rf build/breaking && mkdir -p build/breaking
	git archive --output=build/breaking/protos.tar $(BREAKING_AGAINST) protos
	@tar -x -f build/breaking/protos.tar -C build/breaking
	$(BIN)/buf breaking protos --against build/breaking/protos
endif

.PHONY: check-stubs
check-stubs: setup
	$(call compile_stubs,build/stubs)
	@diff -rq -x __pycache__ build/stubs/governance generated/governance \
		|| { echo "generated/ is not what protos/ says: run 'make generate' and commit the result" >&2; exit 1; }

.PHONY: check-docs
check-docs: setup
	$(BIN)/python $(DOCS_GENERATOR) --check

.PHONY: test
test: setup ## Run every test (PYTEST_ARGS="-k stale" runs some)
	$(BIN)/pytest -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

.PHONY: demo
demo: setup ## Play the whole governed loop against a real sidecar and a real host
	$(BIN)/python -m examples.demo

.PHONY: mutants
mutants: setup ## Break the build on purpose, in many ways, and see which test notices each
	$(BIN)/python -m tests.mutants

.PHONY: reliability
reliability: setup ## Measure what docs/reliability.md shows and write it down (SECTIONS="streams memory" for some)
	$(BIN)/python -m tests.reliability $(SECTIONS) $(if $(SEED),--seed $(SEED))

# SOAK_SEED replays a run, SOAK_ROUND plays one round of it alone.
SOAK_SECONDS ?= 300
SOAK_SEED ?=
SOAK_ROUND ?=

.PHONY: soak
soak: setup ## Break processes and connections at random for SOAK_SECONDS; SOAK_SEED replays a run
	$(BIN)/python -m tests.crash.soak --seconds $(SOAK_SECONDS) \
		$(if $(SOAK_SEED),--seed $(SOAK_SEED)) $(if $(SOAK_ROUND),--round $(SOAK_ROUND))

.PHONY: bench
bench: setup ## Measure throughput and latency as ratios to this machine's floor
	$(BIN)/python -m tests.bench

.PHONY: bench-queries
bench-queries: setup ## Measure every query on 200,000 requests, and write docs/queries.md
	$(BIN)/python -m tests.bench.queries --page docs/queries.md

.PHONY: format
format: setup ## Format the code and the contract, and fix what the linter can fix
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
	$(BIN)/buf format protos --write

.PHONY: clean
clean: ## Remove everything that these commands made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find server generated tests examples -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
