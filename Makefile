# make demo    install, then train the tiny model on a CPU, end to end
# make smollm2 install, then get a small pretrained model: SmolLM2-135M-Instruct, for model.path=smollm2
# make test    install, get SmolLM2, then lint, types, the docs site and the whole test suite (what CI runs)
# make lint    ruff and mypy only        make bench    the phases against bare vLLM and PyTorch
# make docs    the docs site in build/site, with strict links: its own small environment, installed in seconds
# make soak    an hour more: further model families, kills of real runs, and make fuzz
# make fuzz    100,000 hostile replies and more through every chat family and game (make test has a short form)
# Another interpreter: make test PYTHON=python3.11 (3.10 to 3.12). Another place: VENV=path.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

export PIP_NO_INPUT = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo smollm2 test lint docs bench fuzz soak

demo: $(INSTALLED)
	$(RUN) -m rmft_verl.main recipe=mab_tiny

smollm2: $(INSTALLED)
	$(RUN) -m rmft_verl.main.cli smollm2

# One process takes the real runs, which come first, the other all else.
test: lint docs smollm2
	$(RUN) -m pytest -n 2 --no-loadscope-reorder --durations=20

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Its environment holds the site's builder alone, so that a change of it installs nothing else.
docs: $(VENV)-docs/.installed
	$(VENV)-docs/bin/zensical build --clean --strict

$(VENV)-docs/.installed: pyproject.toml
	test -x $(VENV)-docs/bin/python || $(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --progress-bar off \
		"$$($(PYTHON) -c 'import re; print(re.search(r"zensical==[0-9.]+", open("pyproject.toml").read())[0])')"
	@touch $@

bench: $(INSTALLED) smollm2
	$(RUN) tests/benchmarks/bench.py
	$(RUN) tests/benchmarks/bench.py recipe=mab_smollm2 env.options.arms=[3] env.options.horizon=[10] \
		env.options.min_gap=0.2 rollout.scenarios=6 rollout.rollouts=8 selection.keep=4 update.batch=8 --repeats 2

soak: fuzz
	RMFT_SOAK=1 $(RUN) -m pytest tests/e2e
	$(RUN) tests/experiments/kills.py runs/soak --iterations 2

fuzz: $(INSTALLED)
	RMFT_FUZZ=100000 $(RUN) -m pytest -s tests/bridge/test_injection.py tests/unit/test_fuzz.py

# Installs again only when pyproject.toml has changed. vLLM pulls torchvision, torchaudio and torchcodec; where their
# builds do not match torch's, importing a text model fails, and no text model needs them.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info < (3, 13); \
		sys.exit(None if ok else "Python 3.10 to 3.12 is needed, not %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --progress-bar off -e '.[cpu,dev]'
	$(RUN) -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@
