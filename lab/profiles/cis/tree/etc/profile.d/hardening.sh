umask 077
readonly TMOUT=900
export TMOUT
