# make demo: train on real digits, offline, in minutes.   make test: lint and test.   make lint, make types.   make docs: the site.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test matrix oracles faults docs lint types clean

demo: .venv/run.installed
	$(BIN)/python launch.py --config=configs/sngan_digits.py --workdir=runs/digits

# Three workers for two cores: each waits for its launches a fifth of the time.
test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The layers and a tiny training with every Python at hand and JAX 0.10 to 0.12: docs/usage/versions.md.
matrix:
	$(PYTHON) tests/matrix.py

# Our scores and networks against the reference implementations, which need PyTorch (gigabytes): not part of `make test`.
# With CHECKOUTS=DIR the official trainings run, too (tests/oracles/official/fixtures.py says with which interpreters).
oracles: .venv/oracles.installed
	$(BIN)/python -m pytest -W default $(if $(CHECKOUTS),--checkouts=$(CHECKOUTS)) tests/oracles

# Breaks runs on purpose, for hours, and prints counts: docs/reliability.md.
faults: .venv/dev.installed
	$(BIN)/python tests/faults/campaign.py

# Executes the explanations and reads every docstring; a second build does what has changed.
docs: .venv/docs.installed
	$(BIN)/sphinx-build -q -W --keep-going -c docs -d docs/_build/doctrees . docs/_build/html
	@echo docs/_build/html/index.html

lint: .venv/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.installed
	$(BIN)/pyright

.venv/bin/python:
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else f'Python {v[0]}.{v[1]} is not supported: 3.11 to 3.14 are; say which, as make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv

.venv/run.installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

# One installation for both: pip resolves the larger list in one go.
.venv/dev.installed: requirements-dev.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch .venv/run.installed $@

.venv/docs.installed: requirements-docs.txt .venv/run.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

.venv/oracles.installed: requirements-oracles.txt .venv/dev.installed | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-oracles.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'jax2onnx>=0.17.1'
	touch $@

clean:
	rm -rf .venv build dist docs/_build snjax.egg-info
