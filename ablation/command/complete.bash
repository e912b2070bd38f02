# Tab completion in bash, of the scripts and of `python -m ablation.DOOR`: eval "$(python -m ablation.run -sc install=bash)"
_ablation_doors=(run plan status report recommend export bench audit pack sync)
_ablation_benches="all step pipeline study start input table networks calibrate"

# What can stand at the end of a line of overrides, asked of Hydra.
_ablation_ask() {
    COMP_LINE="ablation $1" PYTHON -m ablation.run -sc query=bash 2> /dev/null
}

# Answers for the last of the words $2 that follow the door $1.
_ablation_complete() {
    local door=$1 words=$2 word key value before each
    local -a candidates
    word=${words##*[[:space:]]}
    key=${word%"${word#*=}"} value=${word#*=}                                    # recipe= and sho of recipe=sho
    [[ -n $key && $value == *,* && $value != *[\[\{]* ]] && before=${value%,*},  # depth, of scaling=depth,wi
    value=${value#"$before"}
    read -ra candidates < <(_ablation_ask "${words%"$word"}$key$value")
    [[ $door == bench ]] && candidates+=($_ablation_benches)
    COMPREPLY=()
    for each in "${candidates[@]}"; do
        [[ $each == "$key$value"* ]] && COMPREPLY+=("$key$before${each#"$key"}")
    done
    # Bash replaces the word as COMP_WORDBREAKS part it: as a rule what stands behind "=".
    [[ -n $key && $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"$key"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2> /dev/null
    return 0
}

_ablation_script() {
    local line=${COMP_LINE:0:COMP_POINT} door=${1##*/}
    _ablation_complete "${door#ablation-}" "${line#*[[:space:]]}"
}

_ablation_python() {
    local line=${COMP_LINE:0:COMP_POINT}
    COMPREPLY=()
    if [[ $line =~ [[:space:]]-m[[:space:]]+ablation\.([a-z]+)[[:space:]]+(.*)$ ]]; then
        _ablation_complete "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    elif [[ $line =~ [[:space:]]-m[[:space:]]+(a[a-z.]*)$ ]]; then
        COMPREPLY=($(compgen -W "${_ablation_doors[*]/#/ablation.}" -- "${BASH_REMATCH[1]}"))
    fi
}

complete -o default -F _ablation_script ablation "${_ablation_doors[@]/#/ablation-}"
complete -o default -F _ablation_python python python3
