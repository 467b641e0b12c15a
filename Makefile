# Two commands matter: `make run` and `make test`. Each does all of its own set-up.

export ASSAY_TOOLS := $(CURDIR)/.tools
export UV := $(CURDIR)/.tools/uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
# Without it, uv would look for newer files each time; the lock says what is needed.
export UV_FROZEN := 1

PYTHON := .venv/bin/python
SYNCED := .venv/.synced
SCANNERS := .tools/.scanners

.PHONY: run test check bench schema clean

run: $(SCANNERS)  ## set up everything, run the reference company's programme, write bundle and trust page
	@scripts/system-packages softhsm2
	@$(PYTHON) examples/metal/run.py

test: $(SCANNERS)  ## set up everything, run all tests
	@scripts/system-packages softhsm2 postgresql mariadb-server chromium
	@$(PYTHON) -m pytest -n auto --dist loadgroup $(TESTS)

check: $(SYNCED)  ## style, types, imports, docstrings
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	cd examples/metal && MYPYPATH=../../src:. ../../$(PYTHON) -m mypy --strict -p metal
	.venv/bin/lint-imports
	.venv/bin/interrogate --quiet --fail-under 100 src

bench: $(SYNCED)  ## what sealing costs beside plaintext and peers, as ratios; POSTGRESQL=URL as well
	$(PYTHON) bench/sealing.py $(if $(POSTGRESQL),--postgresql $(POSTGRESQL))
	$(PYTHON) bench/django_rows.py --cpu
	$(PYTHON) bench/backfill.py $(if $(POSTGRESQL),--postgresql $(POSTGRESQL))
	$(PYTHON) bench/growth.py
	$(PYTHON) bench/columns.py --cpu

schema: $(SYNCED)  ## write the programme file's JSON Schema
	$(PYTHON) -c "from assay.controls import programme_schema as s; open('spec/programme.schema.json','wb').write(s())"

clean:  ## remove environments and the reference company's data
	rm -rf .venv .tools examples/metal/data

$(UV):
	@scripts/install-uv .tools/uv

$(SYNCED): $(UV) uv.lock pyproject.toml
	@echo "Installing what uv.lock says into .venv"
	@$(UV) sync --quiet --python "$$(scripts/find-python)"
	@touch $@

$(SCANNERS): $(SYNCED) $(wildcard src/assay/*/*.txt)
	@$(PYTHON) -m assay scan setup
	@touch $@
