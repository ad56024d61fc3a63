# Postfix's lists of milters (smtpd_milters) as text: what is in them, ours in or out of them.
# shellcheck shell=bash
#
# Everybody else's milters keep their place, their spelling and what separates them: a milter that
# is added and taken out again leaves the value as it was, to the octet.

# Results of the functions below.
tokens=() separators=() trailing="" result="" address=""

# Cut a value into its milters (commas and blanks separate them, braces hold one together):
# tokens, and for each what stood before it.  Fails where a brace stays open.
split() { # VALUE
    local rest=$1 depth length
    tokens=() separators=() trailing=""
    while [ -n "$rest" ]; do
        [[ $rest =~ ^[[:space:],]* ]]
        trailing=${BASH_REMATCH[0]}
        rest=${rest:${#trailing}}
        [ -n "$rest" ] || return 0
        if [[ $rest == '{'* ]]; then
            depth=0 length=0
            while [ "$length" -lt "${#rest}" ]; do
                case ${rest:length:1} in '{') depth=$((depth + 1)) ;; '}') depth=$((depth - 1)) ;; esac
                length=$((length + 1))
                [ "$depth" -gt 0 ] || break
            done
            [ "$depth" -eq 0 ] || return 1
        else
            [[ $rest =~ ^[^[:space:],]+ ]]
            length=${#BASH_REMATCH[0]}
        fi
        tokens+=("${rest:0:length}") separators+=("$trailing") trailing=""
        rest=${rest:length}
    done
}
join() {
    local index
    result=""
    for ((index = 0; index < ${#tokens[@]}; index++)); do result+=${separators[index]}${tokens[index]}; done
    result+=$trailing
}
# The address in a token, without options of its own, so that two spellings compare equal.
address_of() { # TOKEN: in $address
    address=$1
    if [[ $address == '{'* ]]; then
        address=${address#\{}
        address=${address#"${address%%[![:space:]]*}"}
        address=${address%%[[:space:],\}]*}
    fi
    case $address in local:*) address=unix:${address#local:} ;; inet:*) address=${address,,} ;; esac
}
same() { # TOKEN TOKEN
    local one
    address_of "$1" && one=$address
    address_of "$2" && [ "$one" = "$address" ]
}
position() { # MILTER: its place among the tokens, or nothing
    local index
    for ((index = 0; index < ${#tokens[@]}; index++)); do
        if same "${tokens[index]}" "$1"; then echo "$index" && return 0; fi
    done
    return 1
}
remove_at() { # INDEX: what follows the first takes over what stood before it
    local leading=${separators[0]}
    unset "tokens[$1]" "separators[$1]"
    tokens=(${tokens[@]+"${tokens[@]}"}) separators=(${separators[@]+"${separators[@]}"})
    if [ "${#tokens[@]}" -gt 0 ]; then separators[0]=$leading; fi
}
insert_at() { # INDEX TOKEN
    local index=$1 before=", "
    if [ "$index" -eq 0 ]; then
        before=${separators[0]-}
        if [ "${#tokens[@]}" -gt 0 ]; then separators[0]=", "; fi
    fi
    tokens=(${tokens[@]+"${tokens[@]:0:index}"} "$2" ${tokens[@]+"${tokens[@]:index}"})
    separators=(${separators[@]+"${separators[@]:0:index}"} "$before" ${separators[@]+"${separators[@]:index}"})
}
lists() { # VALUE MILTER
    split "$1"
    position "$2" >/dev/null
}
# Whether the milters of a list stand in a value, in that order; others may stand among them.
in_order() { # VALUE LIST
    local index expected=() seen=()
    split "$2"
    expected=(${tokens[@]+"${tokens[@]}"})
    split "$1"
    for ((index = 0; index < ${#tokens[@]}; index++)); do
        if [ "${#seen[@]}" -lt "${#expected[@]}" ] && [ "${tokens[index]}" = "${expected[${#seen[@]}]}" ]; then
            seen+=("${tokens[index]}")
        fi
    done
    [ "${#seen[@]}" -eq "${#expected[@]}" ]
}

# Put a milter into a list: $result.  Without a place one that is there stays where it is, and any
# second mention goes; an entry of its own with options in braces keeps them.
# Fails where the neighbour of `before` and `after` is not in the list.
with_milter() { # VALUE MILTER [first|last|before|after [NEIGHBOUR]]
    local entry=$2 place=${3-} index first all_before
    split "$1" || return 1
    all_before="${tokens[*]-}"
    if first=$(position "$2"); then
        entry=${tokens[first]}
        for ((index = ${#tokens[@]} - 1; index >= 0; index--)); do
            if { [ -n "$place" ] || [ "$index" -gt "$first" ]; } && same "${tokens[index]}" "$2"; then remove_at "$index"; fi
        done
    fi
    case $place in
    "") if [ -n "$first" ]; then index=none; else index=${#tokens[@]}; fi ;;
    first) index=0 ;;
    last) index=${#tokens[@]} ;;
    before | after)
        index=$(position "$4") || return 1
        if [ "$place" = after ]; then index=$((index + 1)); fi
        ;;
    esac
    if [ "$index" != none ]; then insert_at "$index" "$entry"; fi
    join
    if [ "${tokens[*]}" = "$all_before" ]; then result=$1; fi
}

# Take a milter out of a list: $result.  Fails where it is not there; the value is $result then.
without_milter() { # VALUE MILTER
    local index found=no
    result=$1
    split "$1" || return 1
    while index=$(position "$2"); do remove_at "$index" && found=yes; done
    if [ "$found" = no ]; then return 1; fi
    if [ "${#tokens[@]}" -eq 0 ]; then trailing=""; fi
    join
}
