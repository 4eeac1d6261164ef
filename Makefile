# Two commands on a fresh machine: `make demo` and `make test`. Each makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check types clean

demo: $(VENV)/installed
	$(BIN)/encodeonce run datasets/demo/run.yaml

test: $(VENV)/installed
	$(BIN)/python -m pytest

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

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo-run *.egg-info
