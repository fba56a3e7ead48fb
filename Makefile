# make demo: the whole flow on real speech.  make test: lint and every test.  Both set up .venv.
# Needs Python 3.11 or newer, make, and a network or local mirror that pip knows.

PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3) python3)
SHELL := bash
.SHELLFLAGS := -o pipefail -c
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A worker takes up to 2 GB.
TEST_WORKERS ?= $(shell nproc | awk '{ print $$1 < 4 ? $$1 : 4 }')

.PHONY: demo test lint types venv arm64 vulkan llvm-mca sshd-adb speech clean

demo: venv
	@$(BIN)/rtmobile demo

test: lint arm64 vulkan llvm-mca sshd-adb speech
	@$(BIN)/python -m pytest --numprocesses=$(TEST_WORKERS) --dist=loadfile

lint: venv types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv
	@tools/typecheck.sh $(BIN)/python

venv: $(STAMP)

# For `rtmobile inspect --cycles`; without apt-get its tests are skipped.
llvm-mca:
	@tools/fetch_llvm.sh || echo 'make: the tests of --cycles will be skipped' >&2

# QEMU and IREE's ARM64 tools, for the tests marked arm64; without apt-get those are skipped.
arm64: venv
	@tools/arm64.sh && $(BIN)/python -c \
	    'from rtmobile_iree.devices.runtime_tools import wheel_tools; wheel_tools("aarch64")' || \
	    echo 'make: the tests marked arm64 will be skipped' >&2

# Mesa's lavapipe and spirv-val, for the tests marked vulkan; without apt-get those are skipped.
vulkan:
	@tools/vulkan.sh || echo 'make: the tests marked vulkan will be skipped' >&2

# For the tests of devices; without apt-get those are skipped.
sshd-adb: venv
	@tools/unpack_debian.sh $(VENV)/debian openssh-server openssh-client adb libnss-wrapper || \
	    echo 'make: tests of devices that need sshd or adb will be skipped' >&2

# Asterisk's prompts and synthetic voices, for `rtmobile corpus asterisk` and its tests; without
# apt-get those are skipped.
speech: venv
	@$(BIN)/python -c \
	    'from rtmobile_iree.speech.corpora.sources import debian_folder; debian_folder()' || \
	    echo 'make: tests of voices and of the prompts will be skipped' >&2

# Installed anew whenever pyproject.toml is newer than the last installation that succeeded.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'make: $(PYTHON) is missing or older than Python 3.11;' \
	        'install python3.11, or name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo 'make: $(PYTHON) cannot make a virtual environment;' \
	        'on Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Setting up $(VENV): about 2 GB, a few minutes the first time.'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install --progress-bar off \
	    --editable '.[bench,dev]' | sed -un '/^Collecting\|^Installing/s/ (from.*//p'
	@touch $@

clean:
	rm -rf build dist demo-out *.egg-info
