# Every target but `help` and `clean` first installs what is missing; see .ci/setup.
# ARGS are passed to pytest: make test ARGS='tests/amqp -k confirm', make test ARGS='-m "not daemon"'.

BIN := .venv/bin
# Two processes for each processor, as tests wait much; one that has finished takes tests over from the others.
PARALLEL := -n auto --dist worksteal
QUICK := tests/unit tests/judging/test_statuses.py tests/judging/test_inputs.py

# A process compiles what it imports only once: where Python is told to keep nothing, that is a tenth of the tests' time.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test-quick test bench chaos fuzz systemd-test lint format clean setup

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## see real programs judged through a real RabbitMQ
	@echo "The demo takes half a minute. Before that, missing Debian and Python packages are installed (the first time: 3 to 5 minutes)."
	@.ci/setup
	@cd tests && ../$(BIN)/python -m harness.demo

test-quick: lint ## in under a minute: check the code, then run unit tests, and judge programs in a real sandbox
	$(BIN)/pytest $(PARALLEL) $(QUICK) $(ARGS)

test: lint ## check the code, then run every test, in parallel: ARGS='tests/web -k limit'
	$(BIN)/pytest $(PARALLEL) $(ARGS)

bench: setup ## measure the daemon beside the bare sandbox, for half an hour on a quiet machine: SANDBOX=path PART=name
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@mkdir -p build
	@cd tests && ../$(BIN)/python -m harness.bench --json ../build/bench.json --png ../build/bench.png $(if $(SANDBOX),--sandbox $(SANDBOX)) $(PART)

chaos: setup ## break all that the daemon stands on, and balance the books: SCENARIO=name SEED=number FULL=1 SHORT=1
	@cd tests && ../$(BIN)/python -m harness.chaos $(SCENARIO) $(if $(SEED),--seed $(SEED)) $(if $(FULL),--full) $(if $(SHORT),--short)

fuzz: setup ## look for a minute for bytes that the ZIP reader and the reader of isolate's reports cannot bear: NAME=archive
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@cd tests && ../$(BIN)/python -m harness.fuzz $(NAME)

systemd-test: setup ## try the service in a virtual machine with systemd: ISOLATE_DIR=folder of a built isolate, ONLY=word
	@cd tests && ../$(BIN)/python -m harness.vm $(if $(ISOLATE_DIR),--isolate $(abspath $(ISOLATE_DIR))) $(if $(ONLY),--only '$(ONLY)')

lint: setup ## check style, formatting, types, imports, dependencies and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry daemon
	$(BIN)/codespell

format: setup ## format the code, and correct what can be corrected by itself
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean: ## remove what these targets made
	rm -rf .venv .*_cache .hypothesis .coverage build dist
	find daemon tests -name __pycache__ -prune -exec rm -rf {} +

setup:
	@.ci/setup
