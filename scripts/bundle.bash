# What scripts/install knows of bundles, and of what is there already.
# shellcheck shell=bash
#
# A script that sources this has the functions `fail` and `say`.

unpack_bundle() { # FILE DIRECTORY: into $unpacked, below the directory
    local file=$1 sums name expected actual
    if [ ! -f "$file" ] || [ ! -r "$file" ]; then fail "--bundle $file cannot be read" 2; fi
    name=$(basename "$file") sums=$(dirname "$file")/SHA256SUMS
    if [ -r "$sums" ]; then
        expected=$(awk -v name="$name" '$2 == name || $2 == "*" name {print $1}' "$sums")
        [ -n "$expected" ] || fail "$sums does not name $name" 2
        actual=$(sha256sum <"$file")
        [ "${actual%% *}" = "$expected" ] || fail "$file is not what $sums says: it is damaged, or another one. Nothing was changed" 2
    else
        echo "install: no SHA256SUMS beside $name: it was not checked against one" >&2
    fi
    tar -tzf "$file" >"$2/names" 2>/dev/null || fail "$file is no archive that tar and gzip can read" 2
    if grep -qvE '^ldapmilter-[0-9][^/]*/' "$2/names" || grep -qE '(^|/)\.\.(/|$)' "$2/names"; then
        fail "$file is not a bundle of ldapmilter" 2
    fi
    mkdir "$2/bundle"
    tar --no-same-owner -xzf "$file" -C "$2/bundle" || fail "$file could not be unpacked"
    unpacked=$(echo "$2"/bundle/ldapmilter-*)
    if [ ! -x "$unpacked/scripts/install" ] || [ ! -r "$unpacked/wheels/requirements.txt" ]; then
        fail "$file is not a bundle of ldapmilter" 2
    fi
}

can_take_wheels() { # the wheels of a bundle are for one kind of machine
    local libc
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || true)
    if [ "$(uname -s -m)" != "Linux x86_64" ] || [ -z "$libc" ] || ! at_least 2.28 "${libc#glibc }"; then
        fail "the wheels of a bundle are for Linux on x86_64 with glibc 2.28 or newer; this is $(uname -s -m) with ${libc:-another libc}: install from a clone" 2
    fi
}

at_least() { # LEAST VERSION
    [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]
}

installed_version() { # PREFIX: print the version that is there, if one is
    local info
    for info in "$1"/lib/python3*/site-packages/ldapmilter-*.dist-info; do
        if [ -d "$info" ]; then
            info=${info##*/ldapmilter-}
            echo "${info%.dist-info}"
        fi
    done | sort -V | tail -n1
}

refuse_downgrade() { # PREFIX VERSION
    local there
    there=$(installed_version "$1")
    if [ -n "$there" ] && ! at_least "$there" "$2"; then
        fail "version $there is installed, and $2 is older: it may not read what $there has written. Nothing was changed. To have $2 all the same, remove $there first ($prefix/libexec/uninstall keeps configuration, audit and state), and look through CHANGELOG.md"
    fi
}

refuse_packaged() { # PREFIX
    if [ -r "$1/share/ldapmilter/package" ]; then
        fail "$prefix belongs to the package ldapmilter: it is upgraded by $(cat "$1/share/ldapmilter/package") install, with a newer package"
    fi
}

built_on_another_python() { # PREFIX: whether the interpreter there is not of the version that its packages lie under
    local before now
    before=$(sed -n 's/^version\(_info\)\{0,1\} = \([0-9]*\.[0-9]*\).*/\2/p' "$1/pyvenv.cfg" 2>/dev/null)
    now=$("$1/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 0
    [ -n "$before" ] && [ -n "$now" ] && [ "$before" != "$now" ]
}
