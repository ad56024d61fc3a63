# Whether Postfix still asks the milter: while it asks one that is gone, all mail waits.
# shellcheck shell=bash

still_asked() { # [ROOT]: print which postconf says so, and succeed; fail when none does
    local root=${1:-} socket postconf
    socket=$(sed -n '/^\[milter\]/,/^\[ldap\]/s/^socket *= *\([^ ;]*\).*/\1/p' "$root/etc/ldapmilter/config.ini" 2>/dev/null | head -n1)
    : "${socket:=unix:/run/ldapmilter/milter.sock}"
    for postconf in "$root/opt/zimbra/common/sbin/postconf" "$root/opt/zextras/common/sbin/postconf" "$root/usr/sbin/postconf"; do
        [ -x "$postconf" ] || continue
        if "$postconf" -h smtpd_milters non_smtpd_milters 2>/dev/null | grep -qF -- "$socket"; then
            echo "$postconf names $socket" && return 0
        fi
    done
    return 1
}
