#!/bin/sh
# What https://get.docker.com gives in a test bed. It behaves as Docker's own script does where that matters: it takes
# CHANNEL and VERSION, sets up a repository of its own, installs the engine from there, and ends at the first thing that fails.
set -eu
CHANNEL=${CHANNEL:-stable} VERSION=${VERSION:-}

fail() { echo "ERROR: $*" >&2; exit 1; }
# As a person sees Docker's: what is done, without what apt says about it when it works.
run() { echo "+ $*"; "$@" > /dev/null; }

# All of it is in functions, so that half a script does nothing.
main() {
  case $CHANNEL in stable | test) ;; *) fail "unknown CHANNEL '$CHANNEL': use either stable or test." ;; esac
  [ "$(id -u)" = 0 ] || fail "this installer needs to run commands as root."
  if command -v docker > /dev/null; then echo "Warning: the \"docker\" command appears to already exist on this system."; fi
  export DEBIAN_FRONTEND=noninteractive
  run apt-get -qq update
  run apt-get -y -qq install ca-certificates curl
  echo 'deb [trusted=yes] https://docker.mirror.internal/linux/debian ./' > /etc/apt/sources.list.d/docker.list
  run apt-get -qq update
  package=docker.io
  if [ -n "$VERSION" ]; then
    found=$(apt-cache madison docker.io | tr -d ' ' | cut -d'|' -f2 | grep -m1 "^$(echo "$VERSION" | sed 's/\./\\./g')") ||
      fail "'$VERSION' not found amongst apt-cache madison results"
    package=docker.io=$found
  fi
  run apt-get -y -qq --no-install-recommends install "$package" docker-cli
}

main
