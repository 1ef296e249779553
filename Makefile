# Every target makes the checkout's own .venv when it is missing or out of date, and nothing
# outside the checkout. `make PYTHON=python3.12 …` builds it with another Python (3.11 or newer).

PYTHON ?= python3
THREADS ?= 1
WORKERS ?= 2
ARGS ?=

VENV := .venv
STAMP := $(VENV)/.installed
ORACLE := .venv-oracle
DIST := .venv-dist
DIST_STAMP := $(DIST)/.installed
ORACLE_STAMP := $(ORACLE)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
NODE_STAMP := tests/node/node_modules/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-avx2 lint format typecheck check docs dist dist-check dist-oldest dist-newest node pictures oracle bench bundle \
	ablation ablation-report clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Make .venv with the package and everything pinned in constraints.txt

demo: $(STAMP) ## Synthesise, train, score and detect in a few minutes; leaves runs/demo
	$(VENV)/bin/earmark demo --out runs/demo $(ARGS)

test: $(STAMP) ## Run the tests, at least 80 % of lines covered (ARGS="-k name" to choose)
	OMP_NUM_THREADS=$(THREADS) $(VENV)/bin/python -m pytest -n $(WORKERS) --cov=earmark \
		--cov-report=term-missing:skip-covered --cov-fail-under=80 $(ARGS)

# What oneDNN and PyTorch may use of the processor; one with AVX2 alone computes by other code.
test-avx2: $(STAMP) ## Run the tests that depend on the processor as one without AVX-512 would
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=$(THREADS) \
		$(VENV)/bin/python -m pytest -n $(WORKERS) -m processor $(ARGS)

lint: $(STAMP) ## Check style and formatting
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(STAMP) ## Mend what lint can mend by itself
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

typecheck: $(STAMP) ## Check types, strictly
	$(VENV)/bin/mypy

check: lint typecheck test ## All three, as a change must pass them

docs: $(DOCS_STAMP) ## Build the documentation into site/, strictly and without the network
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --clean $(ARGS)

dist: $(DIST_STAMP) ## Build the wheel and the source archive into dist/
	rm -rf dist
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(DIST)/bin/python -m build

dist-check: dist ## Install the wheel in a fresh environment without PyTorch, and use it there
	$(PYTHON) benchmarks/dist_check.py dist/earmark-*.whl $(ARGS)

dist-oldest dist-newest: dist-%: dist
	$(PYTHON) benchmarks/dist_check.py dist/earmark-*.whl --constraints constraints/$*.txt $(ARGS)
dist-oldest: ## As dist-check, with the oldest dependencies that are allowed
dist-newest: ## As dist-check, with the newest dependencies there are

node: $(NODE_STAMP) ## Install what tests need of npm: the web's ONNX Runtime, axe-core

pictures: $(STAMP) ## Make the pictures of pages in docs/img again (needs chromium)
	$(VENV)/bin/python benchmarks/page_pictures.py

oracle: $(STAMP) $(ORACLE_STAMP) ## Make the expected scores again with the reference libraries
	$(ORACLE)/bin/python benchmarks/oracle/make_expected.py $(ARGS)
	$(ORACLE)/bin/python benchmarks/oracle/make_csebb.py

bench: $(STAMP) ## Compare supervised and semi-supervised training (hours; goes on where it stopped)
	$(VENV)/bin/python benchmarks/semi_supervised.py $(ARGS)

bundle: $(STAMP) ## Train the bundle that ships in the package (hours; goes on where it stopped)
	$(VENV)/bin/python benchmarks/shipped_bundle.py $(ARGS)

ablation: $(STAMP) ## Compare the method's parts, arm by arm (hours; goes on where it stopped)
	$(VENV)/bin/python benchmarks/ablation/run.py $(ARGS)

ablation-report: $(STAMP) ## Make docs/ablation.md of the committed runs
	$(VENV)/bin/python benchmarks/ablation/report.py $(ARGS)

clean: ## Remove caches and build leftovers (environments and runs stay)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov build dist site
	find src tests benchmarks examples docs -type d -name __pycache__ -prune -exec rm -rf {} +

# An environment left half-made, or whose Python went away, is made afresh.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo >&2 \
		"$(PYTHON) is missing or older than 3.11: name a newer one with 'make PYTHON=… $(MAKECMDGOALS)'"; exit 2; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1) || { echo >&2 \
		"$(PYTHON) cannot make an environment: Debian keeps that part in the package python3-venv"; exit 2; }
endef

# The pins hold for the build backend too; newer pips read them from the second variable.
$(STAMP): pyproject.toml constraints.txt
	$(call make_venv,$(VENV))
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	@touch $@

# Beside the dev extra, for no test needs it.
$(DOCS_STAMP): $(STAMP)
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -e '.[docs]'
	@touch $@

# Scripts of packages would fetch more from other places; the test needs none of it.
$(NODE_STAMP): tests/node/package.json tests/node/package-lock.json
	cd tests/node && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(DIST_STAMP): constraints.txt
	$(call make_venv,$(DIST))
	PIP_CONSTRAINT=constraints.txt \
		$(DIST)/bin/python -m pip install --disable-pip-version-check --quiet build
	@touch $@

# Some of the reference libraries have no wheels for newer Pythons and build from their sources.
$(ORACLE_STAMP): benchmarks/oracle/requirements.txt
	$(call make_venv,$(ORACLE))
	$(ORACLE)/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@
