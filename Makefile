# What a person and CI run. Each target does its own set-up first, which costs nothing when nothing changed.
# A Python of your choice: make up PYTHON=/path/to/python3.12. Less, or more: make test TESTS=tests/house ARGS=-x.
.DEFAULT_GOAL := help
.PHONY: help setup up test chaos soak fuzz lint bench docs lock clean
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
TESTS ?= tests/
BENCH ?= run
STAMP := .venv/.set-up

# A stamp without a Python that runs (moved, upgraded or removed since) says nothing.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && echo runs),runs)
.PHONY: $(STAMP)
endif

# The stamp holds the Python that was asked for; another one means another environment.
ifneq ($(PYTHON),)
ifneq ($(PYTHON),$(shell cat $(STAMP) 2>/dev/null))
.PHONY: $(STAMP)
endif
endif

help: ## List the targets.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 14

setup: $(STAMP) ## Make .venv with exactly the versions of requirements.lock; every other target does it too.
	@:

$(STAMP): requirements.lock pyproject.toml scripts/bootstrap.lock scripts/setup.sh
	@PYTHON='$(PYTHON)' sh scripts/setup.sh
	@echo '$(PYTHON)' > $(STAMP)

up: $(STAMP) ## Run COS here until Ctrl-C.
	@exec $(BIN)/cos up $(ARGS)

test: $(STAMP) ## Run all tests.
	@$(BIN)/pytest $(TESTS) --tb=short -q $(ARGS)

chaos: $(STAMP) ## Run 200 random histories of writes and faults against a real COS (about 15 min).
	@$(BIN)/python tests/chaos/run.py $(ARGS)

soak: $(STAMP) ## Run a whole COS under a steady load for an hour, and see that nothing grows.
	@$(BIN)/python tests/chaos/soak.py $(ARGS)

fuzz: $(STAMP) ## Send some 10,000 requests made from the OpenAPI document, and count what was recorded; COS_TEST_SEED=… tries others.
	@COS_TEST_EXAMPLES=240 $(BIN)/pytest tests/contract/test_schemathesis.py --tb=short -q -s -k fuzzing \
		-o faulthandler_timeout=3600 $(ARGS)

lint: $(STAMP) ## Check style, format, types and the layers.
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo 'Some files are not formatted: run .venv/bin/ruff format.'; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## Measure COS against its floors, in the same run; BENCH=highway (a file of bench/) something else.
	@$(BIN)/python bench/$(BENCH).py $(ARGS)

docs: $(STAMP) ## Write the tables of docs/settings.md and docs/cli.md from the code.
	@$(BIN)/python scripts/docs.py

lock: $(STAMP) ## Write the locks anew from pyproject.toml; ARGS=--upgrade takes the newest versions.
	@PATH="$$PWD/.uv/bin:$$PATH" $(BIN)/python scripts/lock.py $(ARGS)

clean: ## Remove what was made here: environments and caches, never data.
	@rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	@find src tests scripts bench -name __pycache__ -type d -prune -exec rm -rf {} +
