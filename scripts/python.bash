# What scripts/install and scripts/prepare share: which Python can build a virtual environment.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for those that source this
readonly PYTHONS=(python3.13 python3.12 python3.11 python3.10 python3 /usr/bin/python3)

can_build() { # PYTHON: from 3.10, with venv and headers
    "$1" - 2>/dev/null <<'PYTHON'
import ensurepip, os, sys, sysconfig
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.version_info >= (3, 10) and os.path.exists(headers)))
PYTHON
}
