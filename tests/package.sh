#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh environment and uses it from another folder: bash tests/package.sh PYTHON BUILDER
# PYTHON makes the fresh environment; BUILDER is one that has `build`.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive HEAD | tar -x -C "$(mkdir -p "$work/source" && echo "$work/source")"   # a build leaves files in its tree
"$2" -m build --outdir "$work" "$work/source" > "$work/build.log" || { cat "$work/build.log"; exit 1; }   # the wheel is made from the sdist
"$1" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install --constraint constraints.txt "$work"/ablation-*.whl
cd "$work"
export WANDB_MODE=disabled
tiny=(recipe.epochs=1 recipe.warmup_epochs=0.1 data.train_size=64 data.validation_size=50 data.evaluation_size=60 study.phis='[0,1]' study.seeds='[0,1]')
venv/bin/python -c "import ablation, sys; assert ablation.__file__.startswith('$work/venv'), ablation.__file__"
venv/bin/ablation --help | grep '^study: .*quick'
venv/bin/ablation -sc install=bash | grep "^complete .*ablation"
venv/bin/ablation-sync --version | grep "^ablation 0"
venv/bin/ablation-plan study=figure8 size=paper | tail -n 1
venv/bin/ablation study=quick "${tiny[@]}"
venv/bin/ablation-report study=quick "${tiny[@]}" | tail -n 8
test -s results/quick/compound.png && test -s results/quick/report.html
venv/bin/ablation-status study=quick "${tiny[@]}" | tail -n 1 | grep ' 10 done$'
venv/bin/ablation scaling=foo 2> error || grep '^error: ' error
echo "the wheel works from $work, without $root ($("$1" --version))"
