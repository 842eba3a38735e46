# Every target sets up .venv first when it is missing or older than what it is made from.
.PHONY: venv lock demo test test-adapters coverage lint docs bench gpu-check quickstart controls animation clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

demo: $(READY)
	@$(BIN)/vjepa-world demo

venv: $(READY)

$(READY): pyproject.toml requirements.lock scripts/setup_venv.sh
	@bash scripts/setup_venv.sh $(VENV)
	@touch $@

# The extras of docs/adapters.md need another MuJoCo than `sim`, and are left out.
# make lock UPGRADE=--upgrade takes newer versions than those that the lock has
lock:
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra browser pyproject.toml --constraint constraints.txt \
		--no-annotate --custom-compile-command "make lock" $(UPGRADE) --output-file requirements.lock

# The tests are many small programs: threads inside each of them would only fight over the cores.
# make test TESTS="tests/data tests/cli" runs some of them
test: $(READY)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n auto --maxprocesses=4 $(TESTS)

# make coverage TESTS=tests/planners
coverage: $(READY)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n auto --maxprocesses=4 --cov --cov-report=term \
		--cov-report=html $(TESTS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# the environments of other packages, in a virtual environment of their own below build/
test-adapters:
	@bash scripts/test_adapters.sh

# the documentation site, in build/site; fails on any warning
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(READY)
	@$(BIN)/vjepa-world bench all
	@$(BIN)/python -m pytest -q -m slow

# tests and benchmarks on one GPU, at most eight minutes; runs/gpu_check/result.json
gpu-check: $(READY)
	@$(BIN)/python -m vjepa_world.bench.gpu

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
