# shellcheck shell=bash
# Completes the arguments of PROGRAM: source <(PROGRAM --print-completion-script bash)

_complete_PROGRAM() {
    local line=${COMP_LINE:0:COMP_POINT} word begun
    word=${line##*[[:space:]]}
    # What readline completes begins after the last @ or =, which separate words for it.
    begun=${word%"$2"}
    COMPREPLY=()
    while read -r candidate; do
        COMPREPLY+=("${candidate#"$begun"}")
    done < <(compgen -W "$(PROGRAM --complete -- "$line" 2>/dev/null)" -- "$word")
}

complete -o default -F _complete_PROGRAM PROGRAM
