# Two commands on a fresh machine: `make demo` and `make test`. Each makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-processors test-plugins test-lmms test-vlmevalkit test-kvpress test-peft test-vllm test-s3 \
	test-trackers test-torchcodec test-browser test-real real-tables real-compressors accept-compressor easy-vqa test-triton \
	test-gpu test-cluster test-kills docs check types \
	structure clean

demo: $(VENV)/installed
	$(BIN)/encodeonce run datasets/demo/run.yaml

# A file's tests stay in one process: they share what is costly to make. Files keep their order:
# tests of the store fork, which a process that has begun to use Ray no longer can. One thread each,
# as processes that each want all cores wait for one another.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder -m "not long"

# The contracts again, with the kernels of other processors: tests/processors.py.
test-processors: $(VENV)/installed
	$(BIN)/python -m tests.processors

# Other harnesses and libraries, each in an environment of its own.
test-plugins: test-lmms test-vlmevalkit test-kvpress test-peft test-vllm

test-lmms: $(VENV)-lmms/installed
	$(VENV)-lmms/bin/python -m pytest tests/plugins/lmms_eval tests/harness/bridges/export/test_lmms_eval.py

# Needs a checkout of VLMEvalKit, named by the environment variable VLMEVALKIT; skipped without.
test-vlmevalkit: $(VENV)-vlmevalkit/installed
	$(VENV)-vlmevalkit/bin/python -m pytest tests/plugins/vlmevalkit

test-kvpress: $(VENV)-kvpress/installed
	$(VENV)-kvpress/bin/python -m pytest tests/models/kv/test_kvpress_adapter.py tests/models/kv/test_presses.py

# Features in object storage, against a local S3 server (moto).
test-s3: $(VENV)-s3/installed
	$(VENV)-s3/bin/python -m pytest tests/cache_store/objects

test-peft: $(VENV)-peft/installed
	$(VENV)-peft/bin/python -m pytest tests/models/adapters/test_against_peft.py \
		tests/harness/bench/adapters/test_peft_ways.py tests/harness/serving/adapters/test_peft_mixed.py

# Videos read by torchcodec. It wants FFmpeg's libraries from the system: on Debian, the package ffmpeg.
test-torchcodec: $(VENV)-torchcodec/installed
	$(VENV)-torchcodec/bin/python -m pytest tests/datasets/media tests/harness/bench/test_video.py

# Experiment trackers and inspect_ai, offline: docs/reports.md.
test-trackers: $(VENV)-trackers/installed
	$(VENV)-trackers/bin/python -m pytest tests/plugins/trackers

# vLLM's build for CPUs: docs/vllm.md. Starting it takes from half a minute to several, a dozen times.
test-vllm: $(VENV)-vllm/installed
	OMP_NUM_THREADS=1 PYTHONPATH=tests/torchvision_on_cpu \
		$(VENV)-vllm/bin/python -m pytest tests/plugins/vllm

# A small language model with trained weights, English prose, and easy-VQA: docs/measurements.md. The
# first takes minutes; the second prints that page's tables, and takes a quarter of an hour.
test-real: $(VENV)-real/installed
	OMP_NUM_THREADS=1 $(VENV)-real/bin/python -m pytest tests/real

real-tables: $(VENV)-real/installed
	OMP_NUM_THREADS=1 $(VENV)-real/bin/python -m tests.real.tables

real-compressors: $(VENV)-real/installed
	OMP_NUM_THREADS=1 $(VENV)-real/bin/python -m tests.real.compressors

# Trains the demo's compressors and compares them with every other method: half an hour of CPU.
accept-compressor: build/demo-training/questions.jsonl build/demo-heldout/questions.jsonl
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.acceptance.compressors

# Clips to train on (datasets/demo/compressor.yaml) and to judge by, beside those that ship.
build/demo-training/questions.jsonl: $(VENV)/installed-demo-build
	$(BIN)/python -m encodeonce.datasets.demo.build --folder build/demo-training --seed 1 --train 240 --heldout 0

build/demo-heldout/questions.jsonl: $(VENV)/installed-demo-build
	$(BIN)/python -m encodeonce.datasets.demo.build --folder build/demo-heldout --seed 1 --train 0 --heldout 48

$(VENV)/installed-demo-build: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo-build]'
	touch $@

# The kernel for quantised entries without a GPU: interpreted, then compiled for GPUs.
test-triton: $(VENV)-triton/installed
	TRITON_INTERPRET=1 OMP_NUM_THREADS=1 $(VENV)-triton/bin/python -m pytest tests/gpu/test_triton.py
	OMP_NUM_THREADS=1 $(VENV)-triton/bin/python -m pytest tests/gpu/test_triton.py

# Pages in a browser, by clicking: Debian's chromium (apt-get install chromium), or CHROMIUM=its path.
test-browser: $(VENV)-browser/installed
	OMP_NUM_THREADS=1 $(VENV)-browser/bin/python -m pytest tests/browser

# On a GPU, in the environment that the program runs in: tests/gpu/README.md.
test-gpu:
	$(PYTHON) -m pytest tests/gpu
	$(PYTHON) -m tests.gpu.ratios

# Three machines with Ray, and two with SLURM, as network namespaces of this one: built, disturbed and
# taken down. Needs root, and for SLURM Debian's packages; says what is missing. Twenty minutes.
test-cluster: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v --durations=0 tests/cluster

# Sixty SIGKILLs: half an hour or more. Before them the tests that are too many for `make test`.
test-kills: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long
	$(BIN)/python -m tests.acceptance.kills

# easy-VQA: trains a small model from nothing on the package's pictures, asks it about the test split
# from the store, and prints its accuracies beside the authors'. Five minutes of one core.
easy-vqa: build/easy-vqa/model/config.json
	$(BIN)/encodeonce run models/easy_vqa/run.yaml
	$(BIN)/encodeonce run models/easy_vqa/variants.yaml
	$(BIN)/python -m encodeonce.models.easy_vqa.published build/easy-vqa/results build/easy-vqa/variants

build/easy-vqa/model/config.json: $(VENV)/installed-easy-vqa
	$(BIN)/python -m encodeonce.models.easy_vqa.train

$(VENV)/installed-easy-vqa: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[easy-vqa]'
	touch $@

# The documentation as a site in build/docs-site; a link that leads nowhere ends it.
docs: $(VENV)-docs/installed
	$(VENV)-docs/bin/python docs/site.py build/docs-source
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict

check: $(VENV)/installed-dev types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy follows folders, not the mapping in pyproject.toml: it is shown a tree of links.
types: $(VENV)/installed-dev
	mkdir -p build/typing/encodeonce
	ln -sfn $(addprefix ../../../,cache_store datasets harness jobs models encodeonce/__init__.py) \
		build/typing/encodeonce/
	$(BIN)/mypy -p encodeonce

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

# An environment beside ours: the tests' own packages, and what a file names beyond them.
$(VENV)-%/installed: pyproject.toml constraints.txt constraints-%.txt
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(VENV)-$*/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-$*.txt
	touch $@

$(VENV)-docs/installed: constraints.txt constraints-docs.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -c constraints-docs.txt \
		mkdocs-material
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# lmms-eval without its dependencies: it asks for torchvision, whose builds bring CUDA and do not
# fit a CPU build of torch, for av<16, and for much that only some of its tasks and models use.
# Named here is what its command line and its llava_hf import.
$(VENV)-lmms/installed: pyproject.toml constraints.txt constraints-plugins.txt
	$(PYTHON) -m venv $(VENV)-lmms
	$(VENV)-lmms/bin/pip install --quiet --disable-pip-version-check \
		-c constraints.txt -c constraints-plugins.txt -e '.[decord]' pytest pytest-timeout \
		evaluate loguru pytablewriter sacrebleu tenacity
	$(VENV)-lmms/bin/pip install --quiet --disable-pip-version-check \
		-c constraints-plugins.txt --no-deps lmms_eval
	touch $@

# The tree in numbers; tests/test_layout.py holds it to them.
structure:
	@$(PYTHON) -m tests.structure

clean:
	rm -rf $(VENV) $(VENV)-* build dist demo-run *.egg-info
