# make up: everything running. make test: the tests, without the slow ones. Both make .venv first; the second time that costs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install up test pooler pgaudit promtool browser bare-debian node test-slow docs lint format bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@PYTHONWARNINGS=ignore $(PYTHON) daybreak_pipeline/embedded_postgres/bootstrap.py $(VENV) --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m daybreak_pipeline.embedded_postgres.programs
	@$(BIN)/python -m daybreak_pipeline.embedded_postgres.pgbackrest
	@touch $@

up: install
	@$(BIN)/daybreak up

# Each file of tests in one process, as many processes as there are cores. In their order: sorted by their numbers of
# tests, the longest files would come last, each alone, because they have the fewest. Python keeps what it has compiled,
# even where the environment says otherwise: tests start it hundreds of times. `make test WORKERS=3` starts three.
WORKERS ?= auto
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: pooler
	$(PYTEST) -m "not slow"

# PgBouncer, for `daybreak up --pgbouncer` and for tests; without it, those are skipped and say so.
pooler: install
	@$(BIN)/python -m daybreak_pipeline.pooler.programs

# The web UI and the report are tested in a real browser. Without one, those tests are skipped and say so.
browser: install
	@$(BIN)/python -m daybreak_pipeline_tests.browser

# Reads are logged by PostgreSQL's extension pgaudit. Without it, its tests are skipped and say so.
pgaudit: install
	@$(BIN)/python -m daybreak_pipeline_tests.pgaudit

# Alert rules are checked by Prometheus' own promtool. Without it, those tests are skipped and say so.
promtool: install
	@$(BIN)/python -m daybreak_pipeline_tests.promtool

# Disaster recovery is tried on a bare Debian, made by debootstrap. Without it, that test is skipped and says so.
bare-debian: install
	@$(BIN)/python -m daybreak_pipeline_tests.bare_debian

# What applications in Node do is run by Node, and TypeScript is compiled. Without them, those tests are skipped and say so.
node: install
	@$(BIN)/python -m daybreak_pipeline_tests.node

test-slow: browser pgaudit promtool bare-debian node
	$(PYTEST) -m slow

# What is made from the database with the sample, on a server of its own: docs/data-dictionary.md, docs/images/schema.svg; and
# docs/settings.md. A slow test compares.
docs: install
	@$(BIN)/python -m daybreak_pipeline.documentation

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# The peers have an environment of their own; pgloader comes from the system's packages where it is there.
bench: install
	@test -x build/peers/bin/python || $(PYTHON) -m venv build/peers
	@build/peers/bin/python -m pip install --quiet --disable-pip-version-check 'dlt[postgres]' pandas pyarrow sqlalchemy psycopg2-binary
	@command -v pgloader >/dev/null || echo "pgloader is not installed: it will be left out"
	DAYBREAK_BENCH_PYTHON=$(CURDIR)/build/peers/bin/python $(BIN)/python -m daybreak_pipeline_tests.benchmarks \
		$(addprefix --table ,$(CASES))

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
