# What scripts/register and scripts/unregister share: Zimbra's commands, and the lists of milters.
# shellcheck shell=bash
#
# Bash and coreutils alone: an MTA need not have any Python, and its zm* commands are shell too.
# Nothing newer than bash 4.2 (the oldest that a supported Zimbra runs on) is used.

# shellcheck source=scripts/milter_list.bash
. "${here:?}/milter_list.bash"
# shellcheck source=scripts/options.bash
. "${here:?}/options.bash"

readonly SMTPD=zimbraMtaSmtpdMilters NON_SMTPD=zimbraMtaNonSmtpdMilters SWITCH=zimbraMilterServerEnabled
readonly CLASS=ldapMilterPolicy
# The global config's lists of classes for new entries.  The COS stands first: once the default COS
# carries policy, `zmprov cc` copies it to every new COS and fails where the class is not allowed.
readonly EXTRA="zimbraCosExtraObjectClass zimbraAccountExtraObjectClass zimbraCalendarResourceExtraObjectClass \
zimbraDomainExtraObjectClass"

readonly SAY_EVERY=20 # seconds after which a wait shows that it goes on
readonly FINE=0 PROBLEM=1 USAGE=2 UNAVAILABLE=3

# Defaults of the options that both scripts have.
zimbra_home="" server="" milter=unix:/run/ldapmilter/milter.sock
dry_run=no wait_seconds=180 zmprov_seconds=120

say() { printf '%s\n' "$*"; }
note() { printf 'note: %s\n' "$*"; }
die() { # STATUS MESSAGE...
    local status=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$status"
}
usage_error() { die "$USAGE" "$* (--help tells the options)"; }

whole_number() { # OPTION VALUE
    [[ $2 =~ ^[0-9]{1,6}$ ]] || usage_error "$1 takes a number of seconds, not '$2'"
}

# --- Zimbra's commands -------------------------------------------------------------------------

# Find the installation, see that we may use it, and name its commands.
find_zimbra() {
    local candidate owner
    if [ -z "$zimbra_home" ]; then
        for candidate in /opt/zimbra /opt/zextras; do
            if [ -d "$candidate" ]; then zimbra_home=$candidate && break; fi
        done
        [ -n "$zimbra_home" ] ||
            die "$USAGE" "neither /opt/zimbra nor /opt/zextras is here: run this on a Zimbra or Carbonio host, or name it with --zimbra-home"
    fi
    if [ -x "$zimbra_home/bin/zmprov" ]; then
        prov=("$zimbra_home/bin/zmprov") prov_name=zmprov
    elif [ -x "$zimbra_home/bin/carbonio" ]; then
        prov=("$zimbra_home/bin/carbonio" prov) prov_name="carbonio prov"
    else
        die "$USAGE" "there is no zmprov (nor carbonio) in $zimbra_home/bin: run this on a Zimbra host, or name its place with --zimbra-home"
    fi
    # Whoever owns localconfig.xml is the user that zmprov runs as: zimbra, or zextras.
    owner=$(stat -c %U "$zimbra_home/conf/localconfig.xml" 2>/dev/null) ||
        die "$USAGE" "$zimbra_home/conf/localconfig.xml cannot be seen: is Zimbra installed there?"
    [ "$(id -un)" = "$owner" ] ||
        die "$USAGE" "zmprov works for the user $owner alone, and this is $(id -un): su - $owner -c '$0 ...'"
    local_host=$("$zimbra_home/bin/zmhostname" 2>/dev/null) || local_host=""
    : "${server:=$local_host}"
    server=${server,,}
    [ -n "$server" ] || die "$USAGE" "zmhostname does not say which server this is: name it with --server"
    postconf=""
    for candidate in "$zimbra_home/common/sbin/postconf" "$zimbra_home/postfix/sbin/postconf"; do
        if [ -x "$candidate" ]; then postconf=$candidate && break; fi
    done
    scratch=$(mktemp -d) || die "$USAGE" "no temporary directory can be made"
    trap 'rm -rf "$scratch"' EXIT
}

# Run zmprov to its end or to our patience; what it printed is in $scratch/out.
# It asks the LDAP master: a replica may not know yet what somebody added a moment ago.
run_prov() { # WHAT-FOR ARGUMENT...
    local doing=$1 status=0 told
    shift
    timeout -k 5 "$zmprov_seconds" "${prov[@]}" "$@" </dev/null >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" -eq 0 ] && return 0
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        failure="$prov_name did not answer within $zmprov_seconds s (--zmprov-timeout) while $doing"
        return "$UNAVAILABLE"
    fi
    told=$(tr '\n' ' ' <"$scratch/err")
    told=${told% }
    failure="$prov_name failed ($status) while $doing: ${told:-it says nothing}"
    return "$UNAVAILABLE"
}
reading() { # WHAT ARGUMENT...: leave with a message unless zmprov answers
    local what=$1
    shift
    run_prov "reading $what" -l -m "$@" || die "$UNAVAILABLE" "$failure. This step only reads; running this again is safe"
}
writing() { # WHAT ARGUMENT...
    local what=$1
    shift
    say "  $prov_name$(quoted "$@")"
    run_prov "writing $what" -l -m "$@" && return 0
    case $failure in
    *"not answer"*) die "$UNAVAILABLE" "$failure; whether it wrote is not known. Run this again: what is done already is left alone" ;;
    *) return "$UNAVAILABLE" ;;
    esac
}

quoted() { # ARGUMENT...: as one would type them
    local argument
    for argument in "$@"; do
        if [[ $argument =~ ^[A-Za-z0-9@%+=:,./_-]+$ ]]; then
            printf ' %s' "$argument"
        else
            printf " '%s'" "${argument//\'/\'\\\'\'}"
        fi
    done
}

# Set $value to that of a single-valued attribute in $scratch/out; empty where it has none.
value_of() { # ATTRIBUTE
    local line ours=no
    value=""
    while IFS= read -r line; do
        if [[ ${line,,} == "${1,,}: "* ]]; then
            value=${line#*: } ours=yes
        elif [[ -z $line || $line == '# '* || $line =~ ^[A-Za-z][A-Za-z0-9-]*:\  ]]; then
            ours=no
        elif [ "$ours" = yes ]; then
            die "$PROBLEM" "the value of $1 has more than one line, which this script would not write back whole: correct it first (zmprov ms, zmprov mcf)"
        fi
    done <"$scratch/out"
}
has_value() { # ATTRIBUTE VALUE: whether $scratch/out holds the pair, compared without case
    grep -qixF -- "$1: $2" "$scratch/out"
}

# Read what concerns us: own_* of the server, global_* of the global config.
read_settings() {
    reading "the server $server" gs -e "$server" "$SMTPD" "$NON_SMTPD" "$SWITCH" zimbraServiceEnabled \
        zimbraMilterBindAddress zimbraMilterBindPort
    runs_mta=no
    if has_value zimbraServiceEnabled mta; then runs_mta=yes; fi
    value_of "$SMTPD" && own_smtpd=$value
    value_of "$NON_SMTPD" && own_non_smtpd=$value
    value_of "$SWITCH" && own_switch=$value
    # shellcheck disable=SC2034 # register tells it
    value_of zimbraMilterBindAddress && zimbra_host=${value:-127.0.0.1}
    value_of zimbraMilterBindPort && zimbra_port=$value
    # shellcheck disable=SC2086 # a list of names
    reading "the global config" gacf "$SMTPD" "$NON_SMTPD" "$SWITCH" zimbraMilterBindPort objectClass $EXTRA
    value_of "$SMTPD" && global_smtpd=$value
    value_of "$NON_SMTPD" && global_non_smtpd=$value
    value_of "$SWITCH" && global_switch=$value
    value_of zimbraMilterBindPort && : "${zimbra_port:=${value:-7026}}"
    cp "$scratch/out" "$scratch/config"
}

# --- What is to change: pairs in changes (server) and class_changes (global config) -------------

changes=() class_changes=()

nothing_to_change() { [ "${#changes[@]}" -eq 0 ] && [ "${#class_changes[@]}" -eq 0 ]; }
tell_changes() {
    say "would run:"
    if [ "${#changes[@]}" -gt 0 ]; then say "  $prov_name$(quoted ms "$server" "${changes[@]}")"; fi
    if [ "${#class_changes[@]}" -gt 0 ]; then say "  $prov_name$(quoted mcf "${class_changes[@]}")" && say "  $prov_name fc -a config"; fi
}
# All of the server's attributes, or all classes, go in one command: there is no moment at which
# only a part of it holds.
change_server() {
    local index
    [ "${#changes[@]}" -gt 0 ] || return 0
    writing "the server $server" ms "$server" "${changes[@]}" || die "$UNAVAILABLE" "$failure. The list of milters is as it was"
    reading "it back" gs -e "$server" "$SMTPD" "$NON_SMTPD" "$SWITCH"
    for ((index = 0; index < ${#changes[@]}; index += 2)); do
        value_of "${changes[index]}"
        [ "$value" = "${changes[index + 1]}" ] ||
            die "$PROBLEM" "${changes[index]} of $server is not what was just written, but '$value'. Does somebody else change it? Run this again"
    done
}
change_classes() { # ADVICE
    [ "${#class_changes[@]}" -gt 0 ] || return 0
    writing "the object classes" mcf "${class_changes[@]}" || die "$UNAVAILABLE" "$failure. $1"
    # Servers that make new entries hold the global config in memory.
    run_prov "flushing caches" fc -a config ||
        note "mailbox servers may go by the old list of classes until they are told: $prov_name fc -a config, on a mailbox server"
}

# --- The milter --------------------------------------------------------------------------------

# Bring MILTER into Postfix's form, inet:host:port or unix:/path; libmilter's inet:port@host is
# understood too, since a [milter] socket may be written so.
normalise_milter() {
    if [[ $milter =~ ^inet:([0-9]+)@(.+)$ ]]; then
        milter=inet:${BASH_REMATCH[2]}:${BASH_REMATCH[1]}
        note "Postfix calls it $milter"
    fi
    case $milter in
    local:/*) milter=unix:${milter#local:} ;;
    unix:/*) ;;
    inet:*)
        [[ $milter =~ ^inet:([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$ ]] ||
            usage_error "'$milter' is not inet:HOST:PORT (an IPv6 address stands in brackets)"
        [[ $milter != inet:0.0.0.0:* && $milter != 'inet:[::]:'* ]] ||
            usage_error "'$milter' is where a milter listens; name the address that Postfix is to connect to"
        ;;
    *) usage_error "'$milter' is not a milter: unix:/path, or inet:host:port" ;;
    esac
    [[ $milter != *[[:space:],\{\}]* ]] || usage_error "'$milter' holds a character that separates milters"
}

# --- What became of it -------------------------------------------------------------------------

answers() { # MILTER, perhaps with options in braces: whether something listens there
    address_of "$1"
    local place=${address#*:}
    case $address in
    unix:*) [ -S "$place" ] ;;
    inet:*)
        local host=${place%:*}
        host=${host#\[}
        # shellcheck disable=SC2016 # the inner shell's parameters
        timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${host%\]}" "${place##*:}" 2>/dev/null
        ;;
    esac
}

# Wait until Postfix's configuration is what it should be, as long as --wait allows.
wait_for_postfix() { # FUNCTION WHAT
    if [ "$server" != "$local_host" ]; then
        note "on $server, see that zmconfigd has taken it over: postconf smtpd_milters non_smtpd_milters"
        return 0
    fi
    [ "$runs_mta" = yes ] || return 0
    [ -n "$postconf" ] || die "$PROBLEM" "the directory is right, but there is no postconf in $zimbra_home to verify it by"
    local began=$SECONDS deadline=$((SECONDS + wait_seconds)) told=$SECONDS
    say "waiting for zmconfigd (up to $wait_seconds s): $2"
    while ! "$1"; do
        [ "$SECONDS" -lt "$deadline" ] ||
            die "$PROBLEM" "the directory is right, but Postfix is not yet after $wait_seconds s: $problem. See zmconfigdctl status and $zimbra_home/log/zmconfigd.log; running this again is safe"
        if [ $((SECONDS - told)) -ge "$SAY_EVERY" ]; then
            told=$SECONDS
            say "  still waiting, $((SECONDS - began)) s so far: ${problem:-}"
        fi
        sleep 0.2
    done
}
postfix_value() { "$postconf" -h "$1" 2>/dev/null || true; }
