# Completes the arguments of PROGRAM: source <(PROGRAM --print-completion-script zsh)

_complete_PROGRAM() {
    reply=(${(f)"$(PROGRAM --complete -- "$words" 2>/dev/null)"})
}

compctl -K _complete_PROGRAM + -f PROGRAM
