# Needs Python 3.11 or later, make and a C compiler; all else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install run test test-binary fuzz simulate crash check bench bench-compare soak profile binary docs format clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

install: .venv/.installed  ## make .venv and install marketd into it

run: .venv/.installed  ## serve on http://127.0.0.1:8080 with a sample catalogue, data in ./data
	$(BIN)/marketd serve --sample

test: .venv/.installed-dev  ## run all tests
	$(BIN)/python -m pytest -n 2

fuzz: .venv/.installed-dev  ## try out the document of the API for longer, with other examples each time
	MARKETD_FUZZ_EXAMPLES=$(or $(EXAMPLES),200) MARKETD_FUZZ_SEED=$(or $(SEED),$$(date +%s)) \
		$(BIN)/python -m pytest -n 0 tests/journeys/test_document.py

simulate: .venv/.installed-dev  ## live through many runs of the service, with faults drawn from seeds
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(SEED),0)

crash: .venv/.installed-dev  ## kill, stop and starve the real service under load, and look at what is left
	$(BIN)/python -m tests.crash --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),1) --faults "$(FAULTS)"

test-binary: .venv/.installed-dev dist/marketd  ## try dist/marketd where there is nothing but itself
	MARKETD_TEST_BINARY=dist/marketd $(BIN)/python -m pytest -n 0 tests/binary

check: .venv/.installed-dev  ## check format, manners and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.installed  ## measure, and write docs/benchmarks.md; NAMES="reads asks" takes just these
	$(BIN)/python -m bench $(if $(NAMES),$(NAMES) --keep)

bench-compare: .venv/.installed  ## show what has changed: make bench-compare BEFORE AFTER, each a results.json or a revision
	@$(BIN)/python -m bench.compare $(COMPARED)

# What stands after bench-compare is compared, and not made.
ifeq (bench-compare,$(firstword $(MAKECMDGOALS)))
COMPARED := $(wordlist 2,3,$(MAKECMDGOALS))
.PHONY: $(COMPARED)
$(eval $(COMPARED): ; @:)
endif

soak: .venv/.installed  ## run the service at half load for 30 minutes, and write docs/soak.md
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),30) $(if $(RATE),--rate $(RATE))

profile: .venv/.installed-dev  ## take the flame graphs in docs/profiles
	$(BIN)/python -m bench.profile

binary: dist/marketd  ## make dist/marketd, one file for Linux that needs no Python

docs: .venv/.installed  ## write the pages that follow from the code
	$(BIN)/python -m docs.make_pages

format: .venv/.installed-dev  ## bring the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove .venv and all that was built, but not ./data
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# Each stamp is touched last, so an installation that broke off is begun anew, and one that is up to date costs nothing.

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "marketd needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear .venv
	touch $@

.venv/.installed: .venv/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: .venv/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch .venv/.installed $@

# The binary is made in an environment of its own, of the bounds in setup.cfg and nothing that a developer has beside them.

build/binary/.installed: setup.cfg pyproject.toml packaging/requirements.txt
	$(PYTHON) -m venv --clear build/binary
	build/binary/bin/python -m pip install --quiet --requirement packaging/requirements.txt '.[otel]'
	touch $@

dist/marketd: build/binary/.installed $(shell find marketd packaging -type f ! -name '*.pyc')
	rm -rf build/lib build/bdist.*
	build/binary/bin/python -m pip install --quiet --no-deps --force-reinstall .
	build/binary/bin/python -m PyInstaller --noconfirm --log-level WARN --workpath build/binary/work packaging/marketd.spec
