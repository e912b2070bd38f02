#!/usr/bin/env bash
# Bundles everything for this Python, unbundles it where there is no network, into an environment that has nothing, and trains there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cut=(unshare --map-root-user --net) # a network of its own, without any device
"${cut[@]}" true 2>/dev/null || { echo "without unshare nothing cuts the network here: only --no-index does" && cut=(); }

make bundle PYTHON="$python" BUNDLE="$home/bundle" HAS= FOR_PYTHON="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
"$python" -m venv "$home/venv" # without what this Python has, as `make unbundle` would show it
"${cut[@]}" make unbundle PYTHON="$python" BUNDLE="$home/bundle" VENV="$home/venv"
"$home/venv/bin/python" -m pip check
"${cut[@]}" "$home/venv/bin/python" -m ablation.run runs="$home/runs" cache="$home/cache" wandb.mode=offline recipe.epochs=1 data.train_size=64
