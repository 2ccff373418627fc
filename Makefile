# Everything happens in .venv/; the only things needed beforehand are Python 3.11+ and make.
# The first of these that really runs: a pyenv shim may stand for a version that is not there.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && break; done)
VENV := .venv
READY := $(VENV)/ready
CONFIG ?= $(wildcard voicemedia.toml)

.PHONY: run test check format bench clean

run: $(READY)
	@echo "Starting; the line 'listening on' says where to connect. Ctrl-C stops. From another shell:"
	@echo "  $(VENV)/bin/voicemedia call smartflo examples/breakfast.wav"
	@$(if $(CONFIG),export VOICEMEDIA_CONFIG=$(CONFIG);) exec $(VENV)/bin/twistd -ny voicemedia.tac --pidfile=

test: $(READY)
	$(VENV)/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict voicemedia tests
	$(VENV)/bin/python -m pytest tests/test_house.py

format: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(READY)
	$(VENV)/bin/python -m benchmarks; failed=$$?; for part in webm history_outage speech jitter rtp rough_line sip; do \
	  $(VENV)/bin/python -m benchmarks.$$part --output benchmarks/RESULTS.md || failed=1; done; exit $$failed

clean:
	rm -rf $(VENV) benchmarks/.venv-* dist build

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found. Cure: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11. Cure: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make a virtual environment. Cure: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about half a minute) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,google,opus,browser,postgres,test,check]'
	@touch $(READY)
