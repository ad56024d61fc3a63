# What scripts/try-package and scripts/try-clone share: a bare Debian of its own to try things in.
# shellcheck shell=bash

# Mounts and processes of a trial are seen by nobody else, and gone with it, however it ends.
apart() { # "$@" of the script, which is in the clone's directory
    [ "${LDAPMILTER_APART:-}" != yes ] || return 0
    [ "$(id -u)" -eq 0 ] || { echo "${0##*/}: only root can make a Debian" >&2 && exit 2; }
    command -v debootstrap >/dev/null || { echo "${0##*/}: apt-get install debootstrap" >&2 && exit 2; }
    LDAPMILTER_APART=yes exec unshare --mount --pid --fork --kill-child "scripts/${0##*/}" "$@"
}

# $root is where it is made, or lies already, and then it stays; empty for a new directory that goes in the end.
make_debian() { # SUITE MIRROR
    remove=no
    if [ -z "$root" ]; then
        root=$(mktemp -d /var/tmp/ldapmilter-trial.XXXXXX) remove=yes
        chmod 755 "$root" # it becomes /, which apt's and Postfix's users have to enter
    fi
    trap remove_debian EXIT
    [ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase "$1" "$root" "$2" >/dev/null
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755,size=1m tmpfs "$root/dev"
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$root/dev/"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s /proc/self/fd/0 "$root/dev/stdin"
    ln -s /proc/self/fd/1 "$root/dev/stdout"
    ln -s /proc/self/fd/2 "$root/dev/stderr"
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
}

# shellcheck disable=SC2317 # called by the trap
remove_debian() {
    [ "$remove" = yes ] || return 0
    umount --recursive "$root/dev" "$root/proc" || return 0
    # Never with something of the host below it.
    grep -qF " $root/" /proc/self/mounts || rm -rf --one-file-system "$root"
}
