PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: setup demo test lint bench-select bench-gan bench-mrcnn bench-labels peers clean

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
	$(RUN) -m benchmarks.stage1.speed

# FOLDER holds real annotated images (see benchmarks/annotated_images.py); without it the tissue is generated.
bench-gan: setup
	$(RUN) -m benchmarks.stage2.gan $(FOLDER)

bench-mrcnn: setup
	$(RUN) -m benchmarks.stage3.segmentation

# FOLDER holds real annotated images (see benchmarks/annotated_images.py).
bench-labels: setup peers
	$(RUN) -m benchmarks.label_efficiency $(FOLDER)

# The other tools of that table; each needs an environment of its own (2.4 and 1.7 GB).
peers: .venv-stardist/.stamp .venv-cellpose/.stamp

.venv-%/.stamp: benchmarks/peers/requirements-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

clean:
	rm -rf runs data_synthetic data_pseudo
