# Quietly, from a clone: `make run` opens it, `make test` tries it. Keeps to GNU make 3.81, which macOS has.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test soak check clean

run: $(STAMP)-run
	@$(BIN)/quietly

# Three workers on two cores: windows and engines wait for each other half of the time.
test: $(STAMP)-test
	@$(BIN)/python -m pytest -m "not soak" -n 3 --dist loadfile

soak: $(STAMP)-test
	@$(BIN)/python -m pytest -m soak

check: $(STAMP)-test $(STAMP)-check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

$(STAMP)-run: pyproject.toml .ci/install
	@bash .ci/install run

$(STAMP)-test: pyproject.toml .ci/install
	@bash .ci/install test

$(STAMP)-check: pyproject.toml .ci/install
	@bash .ci/install check

clean:
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
