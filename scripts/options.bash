# What the scripts share: how an option is spelled, and what is said of one that does not exist.
# shellcheck shell=bash
#
# Bash and coreutils alone, nothing newer than bash 4.2.  A script that sources this has a function `help`
# whose text names every option.

# shellcheck disable=SC2034 # for those that source this
spelled_apart() { # ARGUMENT...: into $arguments, --name=value as two
    local one
    arguments=()
    for one; do
        if [[ $one == --*=* ]]; then arguments+=("${one%%=*}" "${one#*=}"); else arguments+=("$one"); fi
    done
}

options_there_are() { # those that begin a line of the help, or stand there with another
    help | sed -n 's/^  \(--[a-z-]*\)/\1/p' | grep -oE -e '^--[a-z-]+( [A-Z]+)?( \| --[a-z-]+)?' | grep -oE -e '--[a-z-]+' |
        cat - <(echo --help) | sort -u
}

is_option() { # NAME
    options_there_are | grep -qxF -e "$1"
}

no_option() { # ARGUMENT: print that there is no such option, and the one that was probably meant
    local known near="" least=99 distance longest
    while read -r known; do
        # Without the dashes, which make any two options look alike.
        changes_between "${1#--}" "${known#--}"
        longest=${#known}
        if ((${#1} > longest)); then longest=${#1}; fi
        # A part of a name is as good as the whole of it.
        if [[ $1 == --???* && $known == *"${1#--}"* ]]; then distance=0; fi
        if ((distance < least && distance * 5 <= (longest - 2) * 2)); then near=$known least=$distance; fi
    done < <(options_there_are)
    if [ -n "$near" ]; then
        printf 'no option %s; did you mean %s?\n' "$1" "$near"
    else
        printf 'no option %s; there is %s\n' "$1" "$(options_there_are | paste -sd, | sed 's/,/, /g')"
    fi
}

changes_between() { # ONE OTHER: into $distance, the characters that make the other out of one (Levenshtein)
    local i j cost above corner row=()
    for ((j = 0; j <= ${#2}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#1}; i++)); do
        corner=${row[0]} row[0]=$i
        for ((j = 1; j <= ${#2}; j++)); do
            above=${row[j]} cost=1
            if [[ ${1:i-1:1} == "${2:j-1:1}" ]]; then cost=0; fi
            ((distance = corner + cost, distance = above + 1 < distance ? above + 1 : distance)) || true
            ((row[j] = row[j - 1] + 1 < distance ? row[j - 1] + 1 : distance)) || true
            corner=$above
        done
    done
    distance=${row[${#2}]}
}
