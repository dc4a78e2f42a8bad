PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: setup demo test lint bench-select bench-gan bench-mrcnn clean

setup: $(VENV)/.stamp

# Made anew only when the requirements are newer than the last complete installation.
$(VENV)/.stamp: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

demo: setup
	$(RUN) demo.py

test: setup
	$(RUN) -m pytest

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench-select: setup
	$(RUN) -m benchmarks.select

# FOLDER holds real annotated images (see benchmarks/gan.py); without it the tissue is generated.
bench-gan: setup
	$(RUN) -m benchmarks.gan $(FOLDER)

bench-mrcnn: setup
	$(RUN) -m benchmarks.mrcnn

clean:
	rm -rf runs data_synthetic data_pseudo
