# Whether Postfix still asks the milter, or hands copies to the copy relay: while it asks one that is gone, all mail waits;
# copies for a relay that is gone wait in the queue, and are lost when they leave it.
# shellcheck shell=bash

still_asked() { # [ROOT]: print which postconf says so, and what to do, and succeed; fail when none does
    local root=${1:-} socket postconf libexec=/opt/ldapmilter/libexec
    socket=$(sed -n '/^\[milter\]/,/^\[ldap\]/s/^socket *= *\([^ ;]*\).*/\1/p' "$root/etc/ldapmilter/config.ini" 2>/dev/null | head -n1)
    : "${socket:=unix:/run/ldapmilter/milter.sock}"
    for postconf in "$root/opt/zimbra/common/sbin/postconf" "$root/opt/zextras/common/sbin/postconf" "$root/usr/sbin/postconf"; do
        [ -x "$postconf" ] || continue
        if "$postconf" -h smtpd_milters non_smtpd_milters 2>/dev/null | grep -qF -- "$socket"; then
            echo "$postconf names $socket: Postfix still asks the milter, and mail would wait. Unregister it first ($libexec/unregister, as the user zimbra)"
            return 0
        fi
        if "$postconf" -h transport_maps 2>/dev/null | grep -qF -- "/ldapmilter-relay"; then
            echo "$postconf: transport_maps names ldapmilter-relay: Postfix still hands copies to the copy relay, and they would wait. Take the route away first ($libexec/unregister --relay, as the user zimbra; without Zimbra, as root)"
            return 0
        fi
    done
    return 1
}
