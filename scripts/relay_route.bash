# What scripts/register --relay and scripts/unregister --relay share: the route from Postfix to the copy relay.
# shellcheck shell=bash
#
# Two tables, in transport_maps (Zimbra: zimbraMtaTransportMaps) before and behind everybody else's. The first one
# hands the relay's domain over. The last one makes Postfix keep such mail should the first be taken away: it would
# bounce otherwise, and the bounce of a copy reaches nobody. Files and no inline: tables, since Zimbra cuts the value
# at blanks.

readonly TRANSPORT=zimbraMtaTransportMaps
readonly NO_ROUTE="retry:4.4.0 copy relay not routed"

relay="" relay_domain=copies.invalid postfix_dir=""

# Find what routes here: Zimbra, or else a Postfix of its own.
find_router() {
    if [ -z "$postfix_dir" ] && { [ -n "$zimbra_home" ] || [ -d /opt/zimbra ] || [ -d /opt/zextras ]; }; then
        find_zimbra
        [ "$server" = "$local_host" ] ||
            die "$USAGE" "the tables lie in files: run this on $server itself"
        [ -n "$postconf" ] || die "$USAGE" "there is no postconf in $zimbra_home: this server runs no MTA"
        # shellcheck disable=SC2034 # wait_for_postfix asks
        router=zimbra folder=$zimbra_home/conf runs_mta=yes
    else
        router=postfix postconf=$(command -v postconf) ||
            die "$USAGE" "there is neither Zimbra nor Postfix here; name them with --zimbra-home, or --postfix-dir"
        [ -z "$postfix_dir" ] || [ -r "$postfix_dir/main.cf" ] || die "$USAGE" "--postfix-dir $postfix_dir: has no main.cf"
        : "${postfix_dir:=$("$postconf" -h config_directory)}"
        [ -w "$postfix_dir/main.cf" ] || die "$USAGE" "$(id -un) may not change $postfix_dir/main.cf: run this as root"
        folder=$postfix_dir
    fi
    first=texthash:$folder/ldapmilter-relay last=texthash:$folder/ldapmilter-relay-missing
}

normalise_relay() {
    case $relay in
    unix:* | local:* | inet:*) ;;
    *) usage_error "'$relay' is no place that a relay listens at: unix:/path, or inet:host:port" ;;
    esac
    milter=$relay
    normalise_milter
    relay=$milter
    relay_domain=${relay_domain,,}
    [[ $relay_domain =~ ^[a-z0-9_-]+(\.[a-z0-9_-]+)+$ ]] || usage_error "--relay-domain '$relay_domain' is no domain"
}

# Leave with a message where the domain is somebody's: all mail to it would go to the relay, which takes copies alone.
refuse_hosted() {
    local name token value told
    if [ "$router" = zimbra ]; then
        if run_prov "asking for the domain $relay_domain" -l -m gd "$relay_domain" zimbraDomainName; then
            refuse_domain "Zimbra hosts $relay_domain"
        elif [[ $failure != *NO_SUCH_DOMAIN* ]]; then
            die "$UNAVAILABLE" "$failure. Nothing was changed; running this again is safe"
        fi
        return 0
    fi
    for name in mydestination virtual_alias_domains virtual_mailbox_domains relay_domains; do
        value=$("$postconf" -c "$postfix_dir" -xh "$name") || die "$PROBLEM" "postconf cannot read $postfix_dir/main.cf"
        split "$value" || continue
        for token in ${tokens[@]+"${tokens[@]}"}; do
            case $token in
            *:*)
                if told=$("${postconf%postconf}postmap" -c "$postfix_dir" -q "$relay_domain" "${token#proxy:}" 2>&1); then
                    refuse_domain "$name ($token) names $relay_domain"
                elif [ -n "$told" ]; then
                    note "$name: whether $token names $relay_domain cannot be asked: ${told//$'\n'/ }"
                fi
                ;;
            /*) if grep -qixF -- "$relay_domain" "$token" 2>/dev/null; then refuse_domain "$name ($token) names $relay_domain"; fi ;;
            *) if [ "${token,,}" = "$relay_domain" ]; then refuse_domain "$name names $relay_domain"; fi ;;
            esac
        done
    done
}
refuse_domain() { # WHY
    die "$PROBLEM" "$1: mail to it would go to the copy relay, which takes nothing but copies. Nothing was changed: give [relay] domain and --relay-domain a domain that is nobody's, such as copies.invalid"
}

# Set $own and $effective: what is set here, and what counts.
read_transport() {
    if [ "$router" = zimbra ]; then
        reading "the server $server" gs -e "$server" "$TRANSPORT"
        value_of "$TRANSPORT" && own=$value
        reading "the global config" gacf "$TRANSPORT"
        value_of "$TRANSPORT" && inherited=$value
    else
        own=$("$postconf" -c "$postfix_dir" -h transport_maps) || die "$PROBLEM" "postconf cannot read $postfix_dir/main.cf"
        inherited=""
    fi
    effective=${own:-$inherited}
}

# Everybody else's tables of a value: $result.
without_route() { # VALUE
    local index
    split "$1" || die "$PROBLEM" "a brace stays open in the list of tables: $1. Mend that first"
    for ((index = ${#tokens[@]} - 1; index >= 0; index--)); do
        if [ "${tokens[index]}" = "$first" ] || [ "${tokens[index]}" = "$last" ]; then remove_at "$index"; fi
    done
    if [ "${#tokens[@]}" -eq 0 ]; then trailing=""; fi
    join
    result=${result#"${result%%[![:space:],]*}"}
    result=${result%"${result##*[![:space:],]}"}
}

# The relay's domain, and those that it had before: copies under way have them, and would bounce to nobody.
routed_domains() {
    local path domain rest
    printf '%s\n' "$relay_domain"
    for path in "${first#texthash:}" "${last#texthash:}"; do
        [ -r "$path" ] || continue
        # shellcheck disable=SC2034 # what follows the domain
        while read -r domain rest; do
            case $domain in "" | "#"* | "$relay_domain") ;; *) printf '%s\n' "$domain" ;; esac
        done <"$path"
    done | sort -u
}
table() { # FILE: what it should hold
    local domain to
    case texthash:$1 in
    "$first") to=lmtp:$relay ;;
    *) to=$NO_ROUTE ;;
    esac
    for domain in "${domains[@]}"; do printf '%s %s\n' "$domain" "$to"; done
}
told_table() { # VERB FILE
    local line
    table "$2" | while read -r line; do say "  $1 $2: $line"; done
}
table_is_right() { [ -r "$1" ] && [ "$(cat "$1")" = "$(table "$1")" ]; } # FILE
write_table() { # FILE
    local new=$1.new
    if ! { table "$1" >"$new" && chmod 0644 "$new" && mv -f "$new" "$1"; }; then
        die "$PROBLEM" "$1 cannot be written. Nothing was changed in Postfix"
    fi
    told_table wrote "$1"
}

# Give Postfix the list of tables; an empty one is none of its own.
set_transport() { # VALUE
    if [ "$router" = zimbra ]; then
        writing "the server $server" ms "$server" "$TRANSPORT" "$1" || die "$UNAVAILABLE" "$failure. The route is as it was"
        wait_for_postfix transport_is_right "transport_maps"
    elif [ -n "$1" ]; then
        say "  postconf -c $postfix_dir -e$(quoted "transport_maps=$1")"
        "$postconf" -c "$postfix_dir" -e "transport_maps=$1" || die "$PROBLEM" "postconf failed. The route is as it was"
    else
        say "  postconf -c $postfix_dir -X transport_maps"
        "$postconf" -c "$postfix_dir" -X transport_maps || die "$PROBLEM" "postconf failed. The route is as it was"
    fi
}
told_transport() { # VALUE: how it would be set
    if [ "$router" = zimbra ]; then
        say "  $prov_name$(quoted ms "$server" "$TRANSPORT" "$1")"
    elif [ -n "$1" ]; then
        say "  postconf -c $postfix_dir -e$(quoted "transport_maps=$1")"
    else
        say "  postconf -c $postfix_dir -X transport_maps"
    fi
}
transport_is_right() {
    local found
    found=$(postfix_value transport_maps)
    problem="transport_maps is '$found'"
    if [ -n "$wanted" ]; then
        in_order "$found" "$wanted"
    else
        ! lists "$found" "$first" && ! lists "$found" "$last"
    fi
}

# Postfix reads such a table when a process starts.
reload_postfix() { # WHAT has changed: list or content
    if [ "$router" = zimbra ]; then
        # zmconfigd reloads it where the list of tables has changed.
        [ "$1" = content ] || return 0
        note "Postfix takes the new content of the table over at its next reload: zmmtactl reload"
    elif postfix -c "$postfix_dir" status >/dev/null 2>&1; then
        postfix -c "$postfix_dir" reload >/dev/null 2>&1 || die "$PROBLEM" "postfix reload failed; the route holds after the next one"
        say "  postfix -c $postfix_dir reload"
    fi
}

# Leave with a message where copies for the relay are in the queue, or the queue cannot be asked: without a route they
# bounce, and the bounce of a copy reaches nobody.
refuse_while_queued() {
    local path domain rest postqueue=${postconf%postconf}postqueue directory=() patterns=(-e "@$relay_domain")
    local list told status=0 count
    if [ "$router" = postfix ]; then directory=(-c "$postfix_dir"); fi
    for path in "${first#texthash:}" "${last#texthash:}"; do
        [ -r "$path" ] || continue
        # shellcheck disable=SC2034 # what follows the domain
        while read -r domain rest; do [ -z "$domain" ] || patterns+=(-e "@$domain"); done <"$path"
    done
    list=$(mktemp) || die "$USAGE" "no temporary file can be made"
    told=$("$postqueue" ${directory[@]+"${directory[@]}"} -p 2>&1 >"$list") || status=$?
    count=$(grep -ciF "${patterns[@]}" "$list" || true)
    rm -f "$list"
    told=${told//$'\n'/ }
    [ "$status" -eq 0 ] ||
        die "$PROBLEM" "whether copies for the relay are in Postfix's queue cannot be asked: ${told:-$postqueue -p ended with $status}. Nothing was changed: have Postfix run, and run this again"
    case $count in
    0) return 0 ;;
    1) count="1 copy for the relay is" ;;
    *) count="$count copies for the relay are" ;;
    esac
    die "$PROBLEM" "$count in Postfix's queue, and would bounce to nobody. Nothing was changed: let the relay take what is there (postqueue -f), or delete it (postsuper -d)"
}

register_relay() {
    local path stale=()
    normalise_relay
    find_router
    refuse_hosted
    read_transport
    mapfile -t domains < <(routed_domains)
    without_route "$effective"
    wanted="$first${result:+ $result} $last"
    [ "$router" = postfix ] || [ "${#wanted}" -le 1024 ] ||
        die "$PROBLEM" "$TRANSPORT would have ${#wanted} characters; Zimbra keeps 1024. Nothing was changed"
    for path in "${first#texthash:}" "${last#texthash:}"; do
        table_is_right "$path" || stale+=("$path")
    done
    if [ "$effective" = "$wanted" ] && [ "${#stale[@]}" -eq 0 ]; then
        say "$relay_domain is routed to $relay: nothing to change"
    elif [ "$dry_run" = yes ]; then
        say "would run:"
        for path in ${stale[@]+"${stale[@]}"}; do told_table write "$path"; done
        if [ "$effective" != "$wanted" ]; then told_transport "$wanted"; fi
    else
        say "running:"
    fi
    answers "$relay" ||
        note "nothing answers at $relay: copies wait in Postfix's queue until the daemon runs with [relay] listen = $relay"
    if [ "$dry_run" = yes ]; then exit "$FINE"; fi
    if [ "$router" = zimbra ] && [ -z "$own" ] && [ -n "$inherited" ]; then
        note "$TRANSPORT came from the global config ($inherited); $server gets a value of its own, and later changes of the global one do not reach it"
    fi
    for path in ${stale[@]+"${stale[@]}"}; do write_table "$path"; done
    if [ "$effective" != "$wanted" ]; then
        set_transport "$wanted" && reload_postfix list
    elif [ "${#stale[@]}" -gt 0 ]; then
        reload_postfix content
    fi
    say "routed: $relay_domain to lmtp:$relay"
    [ "${#domains[@]}" -eq 1 ] || say "and, for copies that are under way: $(printf '%s\n' "${domains[@]}" | grep -vxF -- "$relay_domain" | paste -sd ' ' -)"
}

unregister_relay() {
    local path left=()
    find_router
    read_transport
    without_route "$own"
    wanted=$result
    if [ "$router" = zimbra ] && [ "$wanted" = "$inherited" ]; then wanted=""; fi
    for path in "${first#texthash:}" "${last#texthash:}"; do
        if [ -e "$path" ]; then left+=("$path"); fi
    done
    split "$own"
    local listed=no
    if position "$first" >/dev/null || position "$last" >/dev/null; then listed=yes; fi
    if [ "$listed" = yes ] || [ "${#left[@]}" -gt 0 ]; then refuse_while_queued; fi
    if [ "$listed" = no ] && [ "${#left[@]}" -eq 0 ]; then
        say "the copy relay is not routed: nothing to change"
    elif [ "$dry_run" = yes ]; then
        say "would run:"
        if [ "$listed" = yes ]; then told_transport "$wanted"; fi
        for path in ${left[@]+"${left[@]}"}; do say "  remove $path"; done
    else
        say "running:"
    fi
    if [ "$dry_run" = yes ]; then exit "$FINE"; fi
    if [ "$listed" = yes ]; then set_transport "$wanted" && reload_postfix list; fi
    # Only when Postfix names them no more: mail waits for a table that is not there.
    for path in ${left[@]+"${left[@]}"}; do rm -f "$path" && say "  removed $path"; done
    say "not routed any more: the copy relay"
}
