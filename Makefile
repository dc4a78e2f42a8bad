PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check

DEV ?= 1        # DEV=0 leaves out what only developers need
TORCH_INDEX ?=  # where pip finds PyTorch, such as the address for CPU-only wheels from PyTorch's install page

REQUIREMENTS := $(if $(filter 0,$(strip $(DEV))),requirements.txt,requirements-dev.txt)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-browser test-all lint weights bench-select bench-gan bench-mrcnn \
	bench-labels bench-slides bench-segment peers clean

help:  # this list
	@grep -E '^[a-z-]+:.*  # ' Makefile | sed -E 's/:.*  # /\t/' | expand -t 16

setup: $(VENV)/.stamp  # install what requirements-dev.txt names into .venv (DEV=0: requirements.txt)

# Made anew only when the requirements are newer than the last complete installation.
$(VENV)/.stamp: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(strip $(TORCH_INDEX)),$(PIP) --index-url $(TORCH_INDEX) $(shell grep -oE '^torch(vision)?==[0-9.]+' requirements.txt))
	$(PIP) -r $(REQUIREMENTS)
	touch $@

demo: setup  # the whole chain on generated tissue
	$(RUN) demo.py

test: setup  # the fast tests
	$(RUN) -m pytest

test-slow: setup  # the other tests: trainings, whole programs
	$(RUN) -m pytest -m slow

test-browser: setup  # the pages in Chromium (apt-get install chromium chromium-driver)
	@command -v chromedriver > /dev/null || echo "no browser here, so its tests are left out: apt-get install chromium chromium-driver"
	@! command -v chromedriver > /dev/null || $(RUN) -m pytest -n 2 -m browser tests/browser

test-all: test test-slow  # all tests

lint: setup  # style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

weights: setup  # make the start weights again (half an hour to an hour; goes on after an interruption)
	$(RUN) -m mrcnn.selftraining.make_start

bench-select: setup  # time stage 1
	$(RUN) -m benchmarks.stage1.speed

# FOLDER holds real annotated images (see benchmarks/annotated_images.py); without it the tissue is generated.
bench-gan: setup  # measure the synthetic pairs (FOLDER=...)
	$(RUN) -m benchmarks.stage2.gan $(FOLDER)

bench-mrcnn: setup  # time the network beside torchvision's
	$(RUN) -m benchmarks.stage3.segmentation

# FOLDER holds real annotated images (see benchmarks/annotated_images.py).
bench-labels: setup peers  # put the claim to the test (FOLDER=...)
	$(RUN) -m benchmarks.label_efficiency $(FOLDER)

bench-slides: setup  # whole slides: memory, time, workers, kills, block edges (hours)
	$(RUN) -m benchmarks.slides

bench-segment: setup peers  # one image beside StarDist, Cellpose and InstanSeg
	$(RUN) -m benchmarks.slides.peers

peers: .venv-stardist/.stamp .venv-cellpose/.stamp .venv-instanseg/.stamp  # install the other tools

# Each needs an environment of its own (2.4, 1.7 and 1.7 GB).
.venv-%/.stamp: benchmarks/peers/requirements-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

clean:  # remove all results
	rm -rf runs data_synthetic data_pseudo
