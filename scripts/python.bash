# What scripts/install and scripts/prepare share: which Python is fit, and what a host has to install for one.
# shellcheck shell=bash

# Newest first.  RHEL's come beside its own python3, under the name of their version.
# shellcheck disable=SC2034 # for those that source this
readonly PYTHONS=(python3.13 python3.12 python3.11 python3.10 python3 /usr/bin/python3)

# What CPython lacks where a library's headers were missing as it was built; the program imports them.
readonly MODULES=(bz2 ctypes lzma sqlite3 ssl zlib)

lacks() { # PYTHON: print those that it lacks; nothing when it does not run at all
    "$1" - "${MODULES[@]}" 2>/dev/null <<'PYTHON' || true
import sys
missing = []
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
print(", ".join(missing))
PYTHON
}

can_build() { # PYTHON: from 3.10, with venv and headers
    [ -z "$(lacks "$1")" ] && "$1" - 2>/dev/null <<'PYTHON'
import ensurepip, os, sys, sysconfig
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.version_info >= (3, 10) and os.path.exists(headers)))
PYTHON
}

can_run() { # PYTHON: one that there are wheels for, with what a virtual environment and the program need
    [ -z "$(lacks "$1")" ] && "$1" - 2>/dev/null <<'PYTHON'
import sys
fit = (3, 10) <= sys.version_info < (3, 14) and sys.implementation.name == "cpython"
import venv
sys.exit(not fit)
PYTHON
}

why_not() { # PYTHON: print what it lacks, after a colon
    local lacking
    lacking=$(lacks "$1")
    if [ -n "$lacking" ]; then echo ": it lacks $lacking"; fi
}

version_of() { # PYTHON: print its version, if it runs at all
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null
}

# The virtual environment links to the interpreter: the user of the service has to be able to run it where it lies.
where() { "$1" -c 'import os, sys; print(os.path.realpath(sys.executable))'; }

others_can_run() { # PYTHON
    local place
    place=$(where "$1")
    # The unit hides home directories from the service (ProtectHome=yes).
    if [ "${service:-}" = systemd ] && [[ $place =~ ^/(root|home|run/user)/ ]]; then return 1; fi
    # By way of a shell: setpriv itself still has root's capabilities when it executes a command.
    # shellcheck disable=SC2016 # that shell expands it
    setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'cd / && "$0" -c "import ssl"' "$place" >/dev/null 2>&1
}

# For scripts/install: $made_of (wheels, source), $root, $service and $USER_NAME say for what, and for whom.
choose_python() { # into $python, unless one was asked for, which has to be fit; fails when there is none
    # shellcheck disable=SC2154 # the script that sources this has it
    local fits=can_build fit="Python 3.10 or newer with venv and headers" advice kind=$made_of
    local closed="lies where the user $USER_NAME cannot run it" candidate found seen=" " skipped=""
    advice=$(python_advice "$kind")
    if [ "$kind" = wheels ]; then
        fits=can_run fit="CPython 3.10 to 3.13 with venv"
        can_take_wheels
    fi
    fit+=", and with ${MODULES[*]}"
    if [ -n "$python" ]; then
        "$fits" "$python" || fail "$python is not $fit$(why_not "$python"). $advice" 2
        # Below --root it may be somebody else's business where it runs in the end.
        # shellcheck disable=SC2154 # the script that sources this has it
        [ -n "$root" ] || others_can_run "$python" || fail "$(where "$python") $closed: take one of the system's. $advice" 2
        return 0
    fi
    for candidate in "${PYTHONS[@]}"; do
        found=$(version_of "$candidate") || continue
        # Several names are mostly the same one.
        if [[ $seen == *" $found "* ]]; then continue; fi
        if ! "$fits" "$candidate"; then
            skipped+="; $candidate ($found) is not$(why_not "$candidate")"
        elif ! others_can_run "$candidate"; then
            skipped+="; $(where "$candidate") $closed"
            continue
        else
            python=$candidate
            return 0
        fi
        seen+="$found "
    done
    fail "no $fit found$skipped. $advice" 2
}

# The words of one distribution: what to install, or that it has nothing that is new enough.
python_advice() { # wheels|source [OS-RELEASE]
    local id="" like="" version="" name="" of kind=$1
    of=${2:-/etc/os-release}
    [ -r "$of" ] || of=/usr/lib/os-release
    if [ -r "$of" ]; then
        # Values may stand in quotes, which the shell takes off.
        # shellcheck disable=SC1090 # it is the host's own file
        IFS='|' read -r id like version name < <(. "$of" && echo "${ID:-}|${ID_LIKE:-}|${VERSION_ID:-}|${PRETTY_NAME:-${ID:-}}")
    fi
    local release=${version%%.*}
    [[ $release =~ ^[0-9]+$ ]] || release=0
    case " $id $like " in
    *" ubuntu "*)
        if [ "$id" = ubuntu ] && ((release < 22)); then no_python "$name" "Ubuntu 22.04" && return 0; fi
        apt_advice "$kind" "$name"
        ;;
    *" debian "*)
        # Testing has no number yet.
        if [ "$id" = debian ] && ((release > 0 && release < 12)); then no_python "$name" "Debian 12" && return 0; fi
        apt_advice "$kind" "$name"
        ;;
    *" fedora "* | *" rhel "* | *" centos "*)
        if [ "$id" != fedora ] && ((release < 8)); then no_python "$name" "RHEL 8" && return 0; fi
        local python=python3.11
        # From 10 on, and in Fedora, the system's own is new enough.
        if [ "$id" = fedora ] || ((release >= 10)); then python=python3; fi
        if [ "$kind" = wheels ]; then
            echo "$name: dnf install $python"
        else
            echo "$name: dnf install $python $python-devel sendmail-milter-devel gcc (the third is in CodeReady Builder, elsewhere PowerTools or CRB)"
        fi
        ;;
    *)
        if [ "$kind" = wheels ]; then
            echo "${name:-This system} is not one we know: install CPython 3.10, 3.11, 3.12 or 3.13, or name one with --python"
        else
            echo "${name:-This system} is not one we know: install CPython 3.10 or newer with venv and headers, libmilter with headers and a C compiler"
        fi
        ;;
    esac
}
apt_advice() { # wheels|source NAME
    if [ "$1" = wheels ]; then
        echo "$2: apt-get install python3"
    else
        echo "$2: apt-get install python3-venv python3-dev libmilter-dev gcc libc6-dev"
    fi
}
no_python() { # NAME SINCE
    echo "$1 has no package with one ($2 is the first): name a Python of your own with --python, or take a server of its own for the milter (docs/admin-guide.md)"
}
