# `make help` lists the targets. Nothing needs an account or a download of data.
PYTHON ?= python3
VENV ?= .venv
RAY ?= .venv-ray
ORACLE ?= .venv-oracle
SITE ?= .venv-docs
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
THREE := phi=0,1,2 seed=0,1,2
# Studies with a target of their own; ARGS adds overrides, as in: make figure8 ARGS=cost=nominal
STUDIES := recipe balance figure3 figure4 figure7 figure8 table3 table7 star star-check grid-search transfer pairs resolution-control schedule learning-rate baseline-pixels marginal-gains negative-control controls
ARGS :=
STUDY ?= quick

# What targets that train or test take, for `make help`: measured on two cores of an AMD EPYC without a GPU, and on a quiet machine. One that is
# empty is not shown.
TIME_study := a quarter of an hour
TIME_recipe :=
TIME_balance :=
TIME_figure3 :=
TIME_figure8 :=
TIME_table7 :=
TIME_star :=
TIME_star-check :=
TIME_grid-search :=
TIME_resolution-control :=
TIME_schedule :=
TIME_negative-control :=
TIME_controls :=
TIME_sweep-depth :=
TIME_sweep-width :=
TIME_sweep-resolution :=
TIME_sweep-compound :=
TIME_figures-3-4-8 :=
TIME_stripes :=
TIME_reference :=
TIME_test :=
TIME_check :=
TIME_check-statistics := two minutes
TIME_oracle := a minute
TIME_test-slurm :=
TIME_test-ray :=
TIME_test-browser :=
TIME_test-package :=
TIME_test-bundle :=
TIME_chaos :=
TIME_notebooks :=

# Figures 3, 4 and 8, each with the study that has its records (figure4's small size is balance).
THREE_FIGURES := figure3=figure3 figure4=balance figure8=figure8

# Of the reference study (size=reference): its steps, in order, each complete before the next; the folder of Imagenette-96; and the seconds
# after which training stops, to go on with the same command (0: not before it is done). SET is a choice of data= instead, with results of its own.
REFERENCE = size=reference $(if $(SET),data=$(SET)) results=results/$(or $(SET),reference) $(ARGS)
STEPS := recipe figure8 baseline-pixels grid-search transfer marginal-gains balance pairs resolution-control learning-rate
SET ?=
DATA ?=
SLICE ?= 0
# Of `make test-gpu`: correctness, step, many, studies, or all; --device cpu does them smaller.
PARTS ?= all

# Of `make bundle`: what the other machine is, and what it has already. HAS= takes torch too, with the CUDA libraries of its default build.
BUNDLE ?= bundle
FOR_PYTHON ?= 3.12
FOR_ARCH ?= x86_64
FOR_GLIBC ?= 28
HAS ?= torch
TAGS = manylinux2014_$(FOR_ARCH) $(patsubst %,manylinux_2_%_$(FOR_ARCH),$(shell seq 17 $(FOR_GLIBC)))
DOWNLOAD = $(PYTHON) -m pip download --quiet --dest $(BUNDLE) --only-binary=:all: --implementation cp --python-version $(FOR_PYTHON) $(TAGS:%=--platform %)

# Reports of all studies whose records ship below results/$1, with the overrides $2.
redraw = for study in $(patsubst results/$1/%/records.parquet,%,$(wildcard results/$1/*/records.parquet)); do \
  $(BIN)/python -m ablation.report study=$$study $2 interactive=false runs=results/$1/$$study || exit; done

.PHONY: help install study figures-3-4-8 reference stripes shapes reference-train figures report status wandb-sync wandb-workspace bench calibrate-cost bench-networks bench-oracle audit $(STUDIES) test test-slurm test-ray test-gpu test-browser test-package test-bundle oracle docs chaos notebooks lint check check-statistics \
  bundle unbundle clean sweep-depth sweep-width sweep-resolution sweep-compound
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^TIME_/ { split($$0, part, / *:= */); if (part[2]) time[substr(part[1], 6)] = part[2] } \
	  /^[a-z$$].*:.*## / { gsub(/\$$\(STUDIES\)/, "$(STUDIES)", $$1); count = split($$1, names, " "); took = ""; \
	  for (i = 1; i <= count; i++) if (names[i] in time) took = took (took ? ", " : "") (count > 1 ? names[i] " " : "") time[names[i]]; \
	  printf (length($$1) > 20 ? "%s\n%22s%s%s\n" : "%-22s%s%s%s\n"), $$1, "", $$2, took ? " [" took "]" : "" } \
	  END { print "\n[time]: measured on two cores of an AMD EPYC, no GPU" }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with pinned requirements

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

study: $(INSTALLED) ## draw the control's shipped page; train the quick study, draw its figures, print its table
	@$(BIN)/python -m ablation.report study=figure8 runs=results/stripes/figure8 results=results/shipped > /dev/null
	@echo "results/shipped/figure8/report.html is drawn from the records that ship: five seeds, up to 8 times the FLOPs. What trains now is that up to 4 times, with three."
	$(BIN)/python -m ablation.run study=quick
	$(BIN)/python -m ablation.report study=quick

sweep-depth sweep-width sweep-resolution sweep-compound: sweep-%: $(INSTALLED) ## one rule at matched cost: phi 0, 1, 2 x seeds 0, 1, 2
	$(BIN)/python -m ablation.run -m cost=matched scaling=$* $(THREE)
	$(BIN)/python -m ablation.report study=quick

$(STUDIES): $(INSTALLED) ## a study of conf/study/, each file says what it asks (ARGS=... adds overrides); ablation.plan says how long
	$(BIN)/python -m ablation.run study=$@ $(ARGS)
	$(BIN)/python -m ablation.report study=$@ $(ARGS)

figures-3-4-8: $(INSTALLED) ## the paper's Figures 3, 4 and 8 on the positive control: from the records that ship, without training; trained where these are missing
	@for pair in $(THREE_FIGURES); do study=$${pair%=*}; records=results/stripes/$${pair#*=}; \
	  if test -e $$records/records.parquet; then from="the records in $$records"; where="runs=$$records"; \
	  else from="training, now"; where=; $(BIN)/python -m ablation.run study=$$study || exit; fi; \
	  $(BIN)/python -m ablation.report study=$$study $$where results=results/figures > /dev/null || exit; \
	  echo "$$study, from $$from: results/figures/$$study/report.html"; done; \
	ls results/figures/figure3/single.png results/figures/figure4/balance.png results/figures/figure8/compound.png

reference: $(INSTALLED) ## figures, tables, verdicts and pages of the reference study, from the records that ship with it
	$(call redraw,reference,$(REFERENCE))

stripes: $(INSTALLED) ## the same of studies on the positive control
	$(call redraw,stripes,results=results/stripes $(ARGS))

shapes: $(INSTALLED) ## the same of studies on shapes, the earlier demonstration
	$(call redraw,shapes,data=shapes results=results/shapes $(ARGS))

reference-train: $(INSTALLED) ## train it, step by step: DATA=FOLDER of Imagenette-96, or SET=imagenette or the like (SLICE=540: stop after nine minutes, go on later)
	end=$$(($$(date +%s) + $(SLICE))); for study in $(STEPS); do \
	  left=$$(($(SLICE) ? end - $$(date +%s) : 0)); test $(SLICE) = 0 || test $$left -gt 0 || exit 143; \
	  timeout --signal=TERM --preserve-status $$left $(BIN)/python -m ablation.run study=$$study $(REFERENCE) data.path=$(DATA); status=$$?; \
	  $(BIN)/python -m ablation.pack study=$$study $(REFERENCE) && $(BIN)/python -m ablation.report study=$$study $(REFERENCE) interactive=false > /dev/null; \
	  test $$status = 0 || exit $$status; done

figures: $(INSTALLED) ## draw every figure that has records
	$(BIN)/python -m ablation.report

report: $(INSTALLED) ## page, figures, tables and verdicts of a study from its records (STUDY=quick)
	$(BIN)/python -m ablation.report study=$(STUDY) $(ARGS)

status: $(INSTALLED) ## the state of every run of a study, live while one is running (STUDY=quick)
	$(BIN)/python -m ablation.status study=$(STUDY) $(ARGS)

wandb-sync: $(INSTALLED) ## upload what runs wrote for W&B offline; what has been uploaded is left out
	$(BIN)/python -m ablation.sync $(ARGS)

wandb-workspace: $(INSTALLED) ## a workspace with the charts of a project on wandb.ai: PROJECT=entity/project (saving it is untested; needs pip install wandb-workspaces)
	$(BIN)/python -m ablation.command.workspace $(PROJECT)

bench: $(INSTALLED) ## speed: ours against bare loops, the usual pipeline, runs one by one; start-up; reading images (ten minutes or so; ARGS=...)
	$(BIN)/python -m ablation.bench all $(ARGS)

calibrate-cost: $(INSTALLED) ## what work costs on this device, from which ablation.plan predicts seconds and memory (a minute; ARGS=...)
	$(BIN)/python -m ablation.bench calibrate $(ARGS)

bench-networks: $(INSTALLED) ## time and memory of a step of each network of a study, alone (STUDY=quick)
	$(BIN)/python -m ablation.bench networks study=$(STUDY) $(ARGS)

audit: $(INSTALLED) ## the paper's printed costs against counted ones, and what follows
	$(BIN)/python -m ablation.audit

test: $(INSTALLED) ## the test suite, side by side on four cores at most (PYTEST_ADDOPTS adds options, as -n0: one after the other)
	PYTEST_ADDOPTS="--numprocesses=logical --maxprocesses=4 --dist=worksteal $$PYTEST_ADDOPTS" $(BIN)/python -m pytest

oracle: $(ORACLE)/.installed ## logits with converted weights against timm's and torchvision's own modules (an environment of its own)
	$(ORACLE)/bin/python -m pytest tests/oracle

bench-oracle: $(INSTALLED) $(ORACLE)/.installed ## training steps by our definition of B0 against timm's and torchvision's (minutes)
	$(ORACLE)/bin/python -m tests.oracle.speed
	$(BIN)/python -m ablation.bench table

$(ORACLE)/.installed: constraints.txt
	test -x $(ORACLE)/bin/python || $(PYTHON) -m venv $(ORACLE)
	$(ORACLE)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy pytest timm==1.0.31 torchvision==0.28.0
	@touch $@

check-statistics: $(INSTALLED) ## the judge on simulated studies: coverage, false verdicts, power
	$(BIN)/python -m ablation.judge.simulate

test-slurm: $(INSTALLED) ## the launcher slurm, on a Slurm that this starts and stops (installed by apt-get where it is missing)
	tests/clusters/slurm.sh $(BIN)/python -m pytest tests/clusters/test_slurm.py

test-gpu: $(INSTALLED) ## checks and measurements on a GPU, into build/gpu/ (PARTS="correctness step", DATA=FOLDER of Imagenette-96)
	PYTHON=$(BIN)/python DATA=$(DATA) tests/gpu.sh $(PARTS)

test-browser: $(INSTALLED) ## the page in a headless Chromium (installed by apt-get where it is missing); pictures in build/browser/
	tests/browser/chromium.sh $(BIN)/python -m pytest tests/browser

test-ray: $(RAY)/.installed ## the launcher ray, in an environment of its own, on a Ray that this starts and stops
	$(RAY)/bin/python -m pytest tests/clusters/test_ray.py

$(RAY)/.installed: pyproject.toml constraints.txt constraints-ray.txt
	test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	awk -F== 'NR == FNR {ours[$$1]; print; next} !($$1 in ours)' constraints-ray.txt constraints.txt > $(RAY)/constraints.txt
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(RAY)/constraints.txt --editable '.[dev,ray]'
	@touch $@

docs: $(SITE)/.installed ## the documents as a site, its links checked: build/docs/index.html (an environment of its own)
	rm -rf build/site
	mkdir -p build/site
	git ls-files -z -- '*.md' '*.png' '*.html' '*.ipynb' '*.json' LICENSE CITATION.cff ':!tests' | xargs -0 cp --parents --target-directory build/site
	$(SITE)/bin/python docs/site/api.py build/site/api
	$(SITE)/bin/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

$(SITE)/.installed: docs/site/requirements.txt
	test -x $(SITE)/bin/python || $(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --requirement docs/site/requirements.txt
	@touch $@

chaos: $(INSTALLED) ## a sweep killed at random until it is done, held against an undisturbed one (minutes)
	$(BIN)/python -m tests.chaos

notebooks: $(INSTALLED) ## run the notebooks and keep what they show (nine short trainings)
	$(BIN)/python -m tests.notebooks

lint: $(INSTALLED) ## ruff: lint and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

check: lint test ## lint and test, what CI runs

bundle: ## wheels for a machine without a network, into bundle/ (FOR_PYTHON=3.12 FOR_ARCH=x86_64; HAS="torch ..." are left out)
	rm -rf $(BUNDLE) && mkdir -p $(BUNDLE)
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir $(BUNDLE) --constraint constraints.txt antlr4-python3-runtime
	grep == constraints.txt | grep -vi $(patsubst %,-e '^%==',antlr4-python3-runtime torch $(subst -,[-_.],$(subst _,-,$(HAS)))) > $(BUNDLE)/requirements.txt
	$(DOWNLOAD) --no-deps --requirement $(BUNDLE)/requirements.txt 'setuptools>=77'
	$(if $(filter torch,$(HAS)),,$(DOWNLOAD) --constraint constraints.txt torch)
	du -sh $(BUNDLE)

unbundle: ## there: install bundle/ without a network, into .venv, which sees what PYTHON has; or into TARGET=folder
ifdef TARGET
	$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target $(TARGET) $(BUNDLE)/*.whl
else
	test -x $(BIN)/python || $(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/python -m pip install --quiet --no-index --no-deps $(BUNDLE)/*.whl
	$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)
endif

test-package: $(INSTALLED) ## the wheel in a fresh environment, used from another folder
	bash tests/package.sh $(PYTHON) $(BIN)/python

test-bundle: ## bundle for this Python, unbundle without a network, train there
	PYTHON=$(PYTHON) tests/bundle.sh

clean: ## remove figures and caches; records, benchmarks and .venv stay
	find results -mindepth 1 -maxdepth 1 ! -name readme ! -name reference ! -name stripes ! -name shapes ! -name bench -exec rm -rf {} +
	rm -rf build *.egg-info .pytest_cache .ruff_cache
