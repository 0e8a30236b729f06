# shellcheck shell=bash
: "${targets:?}"
# Connects to ADDRESS:PORT of other servers, many at a time, and prints the results.
seconds=3 at_once=50

try() { # ADDRESS PORT SECONDS
  local said
  if said=$(timeout "$3" bash -c "exec 3<>/dev/tcp/$1/$2" 2>&1); then
    echo open
  else
    case $? in 124 | 137) echo silent ;; *) echo "${said##*: }" ;; esac
  fi
}

one() { # ADDRESS:PORT   tries twice, for a lost packet or a busy server
  local seen
  seen=$(try "${1%:*}" "${1#*:}" $seconds)
  [[ $seen != silent ]] || seen=$(try "${1%:*}" "${1#*:}" $((2 * seconds)))
  echo "$1 $seen"
}

count=0
for target in $targets; do
  one "$target" &
  ((++count % at_once)) || wait
done
wait
