# Two commands: `make run` serves, `make test` tests. Everything they need they install into .venv.

PYTHON ?= python3
DATA ?= data
BIN := .venv/bin

# Real peers for `make interop` and `make bench`, each in an environment of its own.
SYNAPSE := matrix-synapse==1.163.2 psycopg2-binary==2.9.13
NIO := matrix-nio[e2e]==0.26.0
JS_SDK := matrix-js-sdk@37.5.0
BROWSER := matrix-js-sdk@43.0.0 esbuild@0.28.2
MAUTRIX := mautrix==0.21.1
BOTS := @vector-im/matrix-bot-sdk@0.7.0

.PHONY: run test interop bench peers check-tools example spec-support constraints clean

run: .venv/.run
	@test -e $(DATA)/homeserver.yaml || $(BIN)/hearth init localhost --directory $(DATA) > /dev/null
	@$(BIN)/python -m homeserver.app.welcome $(DATA)/homeserver.yaml
	@exec $(BIN)/hearth run -c $(DATA)/homeserver.yaml

test: .venv/.dev
	@sh .ci/test

interop: .venv/.dev peers
	$(BIN)/python -m pytest -m interop
	HEARTH_GENERATED=50000 HEARTH_SLIDING_STEPS=1000 $(BIN)/python -m pytest -o faulthandler_timeout=7200 \
		tests/faults/test_generated_requests.py tests/scenarios/test_sliding_sync_model.py

bench: .venv/.dev .cache/synapse/.installed
	$(BIN)/python -m benchmarks

peers: .cache/synapse/.installed .cache/nio/.installed .cache/js/.installed .cache/browser/.installed \
	.cache/mautrix/.installed .cache/bots/.installed

# What is written from the code: a test holds each equal.
example: .venv/.run
	$(BIN)/python -m homeserver.app.config.example > homeserver.yaml.example

spec-support: .venv/.dev
	$(BIN)/python -m tests.spec.support > docs/spec-support.md

# Newest versions within the ranges of setup.cfg, written down.
constraints:
	$(PYTHON) -m venv .cache/constraints
	.cache/constraints/bin/pip install --quiet --upgrade '.[dev]'
	(sed -n '/^#/p' constraints.txt; .cache/constraints/bin/pip freeze --all --exclude hearth-homeserver \
		| grep -v '^pip==\|^setuptools==') > .cache/constraints.txt
	mv .cache/constraints.txt constraints.txt
	rm -rf .cache/constraints

clean:
	rm -rf .venv .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/.venv:
	@sh .ci/venv $(PYTHON) .venv
	@touch $@

.venv/.run: .venv/.venv setup.cfg pyproject.toml constraints.txt
	@echo "Installing Hearth into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.venv setup.cfg pyproject.toml constraints.txt
	@echo "Installing Hearth and its tools into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.run

.cache/synapse/.installed: Makefile
	@sh .ci/venv $(PYTHON) .cache/synapse
	.cache/synapse/bin/pip install --quiet --disable-pip-version-check $(SYNAPSE)
	@touch $@

.cache/nio/.installed: Makefile
	@sh .ci/venv $(PYTHON) .cache/nio
	.cache/nio/bin/pip install --quiet --disable-pip-version-check '$(NIO)'
	@touch $@

.cache/js/.installed: Makefile
	@mkdir -p .cache/js
	npm install --prefix .cache/js --no-audit --no-fund --silent $(JS_SDK)
	@touch $@

.cache/browser/.installed: Makefile
	@sh .ci/chromium
	@mkdir -p .cache/browser
	npm install --prefix .cache/browser --no-audit --no-fund --silent $(BROWSER)
	@touch $@

.cache/mautrix/.installed: Makefile
	@sh .ci/venv $(PYTHON) .cache/mautrix
	.cache/mautrix/bin/pip install --quiet --disable-pip-version-check $(MAUTRIX)
	@touch $@

.cache/bots/.installed: Makefile
	@mkdir -p .cache/bots
	npm install --prefix .cache/bots --no-audit --no-fund --silent --ignore-scripts $(BOTS)
	@touch $@
