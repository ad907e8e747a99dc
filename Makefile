# demo   set up, then map the sample stations          test   unit tests, doctests and integration tests
# lint   ruff and mypy        docs   HTML manual       sample rebuild sample_data/ and its model
# pretrained  teach the core anew (two cores, 90 minutes; goes on where it stopped)
# plugin the zip of the QGIS plugin                    test-qgis  the plugin in QGIS's own Python
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(if $(shell command -v $(p)),$(p))))
# small tensors: more than four threads only get in each other's way
OMP_NUM_THREADS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
export OMP_NUM_THREADS
BIN := .venv/bin
STAMP := .venv/installed

# QGIS brings its own Python, and takes from the PATH what it starts.
QGIS_PYTHON ?= /usr/bin/python3
QGIS_PATH := /usr/local/bin:/usr/bin:/bin

.PHONY: demo test unit lint docs sample pretrained plugin test-qgis clean

demo: $(STAMP)
	$(BIN)/geodiffrecon demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest

unit: $(STAMP)
	$(BIN)/python -m pytest tests/unit geodiffrecon -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "The manual is docs/_build/html/index.html"

plugin: $(STAMP)
	$(BIN)/python qgis_plugin/make_plugin.py

test-qgis: $(STAMP)
	@env PATH=$(QGIS_PATH) $(QGIS_PYTHON) -c 'import qgis.core, pytest' || { \
	  echo "$(QGIS_PYTHON) has no QGIS or no pytest. On Debian and Ubuntu: sudo apt-get install qgis python3-qgis qgis-providers python3-pytest xvfb procps" >&2; exit 1; }
	env PATH=$(QGIS_PATH) PYTHONDONTWRITEBYTECODE=1 $(QGIS_PYTHON) -m pytest -p no:cacheprovider tests/qgis

sample: $(STAMP)
	$(BIN)/python sample_data/make_sample_data.py
	rm -rf sample_data/pm25.gdr
	$(BIN)/geodiffrecon fit sample_data/truth.nc --variable pm25 --factor 4 --aggregation mean \
	  --kind positive --until 2023-09-01 --calendar-tz Asia/Shanghai --preset tiny \
	  --model sample_data/pm25.gdr

# One process simulates while the other trains; both go on where they were stopped.
PRETRAINED ?= out/pretrained
TEACH := $(BIN)/python -m geodiffrecon.core.teach $(PRETRAINED)
pretrained: $(STAMP)
	$(TEACH)/completion --simulate 3 --validation 2
	$(TEACH)/completion --simulate 45 & $(TEACH)/completion --minutes 48 && wait
	$(TEACH)/refinement --stage refinement --simulate 4 --validation 4
	$(TEACH)/refinement --stage refinement --simulate 18 & \
	  $(TEACH)/refinement --stage refinement --minutes 30 \
	  --start $(PRETRAINED)/completion/completion_0.safetensors && wait
	cp $(PRETRAINED)/completion/completion_0.safetensors geodiffrecon/core/completion.safetensors
	cp $(PRETRAINED)/refinement/refinement_0.safetensors geodiffrecon/core/refinement.safetensors

.venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.11 or newer, or run make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11: install Python 3.11 or newer, or run make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "A virtual environment could not be made. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[test,docs]"
	@touch $@

clean:
	rm -rf out build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
