# Every target sets up .venv first when it is missing or older than what it is made from.
.PHONY: venv demo test lint bench quickstart controls animation clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

demo: $(READY)
	@$(BIN)/vjepa-world demo

venv: $(READY)

$(READY): pyproject.toml scripts/setup_venv.sh
	@bash scripts/setup_venv.sh $(VENV)
	@touch $@

# The tests are many small programs: threads inside each of them would only fight over the cores.
# make test TESTS="tests/data tests/cli" runs some of them
test: $(READY)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n auto --maxprocesses=4 $(TESTS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(READY)
	@$(BIN)/vjepa-world bench all
	@$(BIN)/python -m pytest -q -m slow

# collect, pretrain, finetune, evaluate from nothing
quickstart: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/quickstart.sh

# the same with an untrained encoder and with raw pixels, after `make quickstart`
controls: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/controls.sh

# the README's animation, from the videos of `make demo`
animation: $(READY)
	@$(BIN)/python docs/animation.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
