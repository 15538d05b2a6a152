#!/bin/bash
# Makes a virtual environment: make-venv.sh PYTHON FOLDER. Debian keeps the module for it in a package of its own,
# which is installed where this user may.
set -eu
python=$1 folder=$2

command -v "$python" >/dev/null || { echo "make: there is no $python: apt-get install python3, or PYTHON=..." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "make: Hoist needs Python 3.11 or newer; $python is $("$python" -V): say PYTHON=..." >&2; exit 1; }

if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
  rm -rf "$folder"
  if [ "$(id -u)" -eq 0 ]; then as_root=(env); else as_root=(sudo -n env); fi
  { "${as_root[@]}" apt-get -qq update && "${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
      apt-get -qq install -y --no-install-recommends python3-venv; } >/dev/null 2>&1 || true
  "$python" -m venv "$folder" || { echo "make: install python3-venv, then run make again" >&2; exit 1; }
fi
