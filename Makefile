# make demo: train on real digits, offline, in minutes.   make test: lint and test.   make lint, make types.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types clean

demo: .venv/run.installed
	$(BIN)/python launch.py --config=configs/sngan_digits.py --workdir=runs/digits

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.installed
	$(BIN)/pyright

.venv/bin/python:
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f'Python {v[0]}.{v[1]} is not supported: 3.11 and 3.12 are; say which, as make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv

.venv/run.installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev.installed: requirements-dev.txt .venv/run.installed | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv build dist snjax.egg-info
