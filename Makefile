# Two commands on a fresh machine: `make demo` and `make test`. Each makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
KIT_VENV ?= .venv-vlmevalkit

.PHONY: demo test test-vlmevalkit check types clean

demo: $(VENV)/installed
	$(BIN)/encodeonce run datasets/demo/run.yaml

test: $(VENV)/installed
	$(BIN)/python -m pytest

# Needs a checkout of VLMEvalKit, named by the environment variable VLMEVALKIT.
test-vlmevalkit: $(KIT_VENV)/installed
	$(KIT_VENV)/bin/python -m pytest tests/harness/vlmevalkit/test_run_py.py

check: $(VENV)/installed-dev types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy follows folders, not the mapping in pyproject.toml: it is shown a tree of links.
types: $(VENV)/installed-dev
	mkdir -p build/typing/encodeonce
	ln -sfn $(addprefix ../../../,cache_store datasets harness jobs models) build/typing/encodeonce/
	$(BIN)/mypy -p encodeonce

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

$(KIT_VENV)/installed: pyproject.toml constraints.txt constraints-vlmevalkit.txt
	$(PYTHON) -m venv $(KIT_VENV)
	$(KIT_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(KIT_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-vlmevalkit.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(KIT_VENV) build dist demo-run *.egg-info
