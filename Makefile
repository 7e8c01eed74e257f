# make demo and make test work in a fresh clone; PYTHON=... names another interpreter.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
HOST ?= 127.0.0.1
PORT ?= 8000
PACS_PORT ?= 8042

.DEFAULT_GOAL := help
.PHONY: help demo test test-e2e test-faults lint docs serve pacs pacs-stop ohif clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed ## Write demo studies, train, compare, serve them (SERVE=0: end before serving)
	.venv/bin/python apps/semiseg/demo.py

test: lint ## Check style and types, run all tests that need nothing but Python
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not programs" $(ARGS)

test-e2e: .venv/installed-dev ## Run the tests with a real Orthanc and Chromium, which it installs on Debian where it may
	tests/e2e/install.sh
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m programs $(ARGS)

test-faults: .venv/installed-dev ## Kill, fuzz and load real servers and print the figures (SHORT=1: 3 minutes instead of an hour)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/faults.py --kills $(if $(SHORT),6,200) $(ARGS)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/fuzz.py --minutes $(if $(SHORT),0.5,10) $(ARGS)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/load.py --minutes $(if $(SHORT),0.5,10) $(ARGS)

lint: .venv/installed-dev ## Check style and types only
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy

docs: .venv/installed-dev ## Build the documentation into site/; a broken link, anchor or docstring is an error
	.venv/bin/python -m sphinx --fail-on-warning --quiet --jobs auto docs site
	@echo "The documentation: site/index.html"

serve: $(if $(STUDIES),.venv/installed) ## Serve your studies: make serve STUDIES=folder (HOST=0.0.0.0: to other machines)
	@test -n "$(STUDIES)" || { echo "Name the folder of your studies: make serve STUDIES=folder"; exit 2; }
	.venv/bin/python -m monailabel.main start_server --app apps/semiseg --studies "$(STUDIES)" \
		--host "$(HOST)" --port "$(PORT)" $(ARGS)

pacs: .venv/installed ## Start a PACS on this machine (Orthanc, DICOMweb) with the demo studies
	.venv/bin/python apps/semiseg/pacs.py start --port "$(PACS_PORT)"

pacs-stop: ## End it; its studies stay
	.venv/bin/python apps/semiseg/pacs.py stop

ohif: pacs ## Serve that PACS with the OHIF viewer
	@echo "The viewer: http://$(HOST):$(PORT)/ohif/"
	.venv/bin/python -m monailabel.main start_server --app apps/semiseg \
		--studies "http://127.0.0.1:$(PACS_PORT)/dicom-web" --host "$(HOST)" --port "$(PORT)" $(ARGS)

clean: ## Remove the environment, caches and demo studies; models stay
	rm -rf .venv demo tutorial site .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps stand in the environment itself, so that removing .venv removes them too.
.venv/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "semiseg needs Python 3.11: make PYTHON=/path/to/python3.11"; exit 2; }
	"$(PYTHON)" -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	.venv/bin/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@
