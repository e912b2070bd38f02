#!/usr/bin/env bash
# Runs a command where there is a headless browser: tests/browser/chromium.sh COMMAND...
# Chromium and its driver come from apt-get where they are missing; without root, or where there is neither, one line says so and nothing runs.
set -euo pipefail

skip() {
  echo "skipped: $1"
  exit 0
}
if ! type chromium chromedriver >/dev/null 2>&1; then
  type apt-get >/dev/null 2>&1 || skip "no chromium and chromedriver here, and no apt-get to install them"
  [ "$(id -u)" = 0 ] || skip "no chromium and chromedriver here, and installing them takes root"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
fi
exec "$@"
