# shellcheck shell=bash
: "${sources:?}" "${port:?}"
# Who is logged in over SSH must still be able to connect: prints the address if it would not. sudo
# clears the environment, so the processes above this one are asked, too.
address='' pid=$$
while ((pid > 1)) && [[ ! $address ]]; do
  while IFS= read -rd '' variable; do
    [[ $variable != SSH_CONNECTION=* ]] || read -r address _ <<<"${variable#*=}"
  done <"/proc/$pid/environ"
  parent=1
  while read -r key value; do
    [[ $key != PPid: ]] || parent=$value
  done <"/proc/$pid/status"
  pid=$parent
done 2>/dev/null
[[ $address ]] || exit 0

number=''
to_number() { # ADDRESS: into $number
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  number=$(((a << 24) + (b << 16) + (c << 8) + d))
}
if [[ $address =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ ]]; then
  to_number "$address"
  own=$number
  for source in $sources; do
    [[ $source != none ]] || continue
    bits=32
    [[ $source != */* ]] || bits=${source#*/}
    to_number "${source%/*}"
    ((number >> (32 - bits) != own >> (32 - bits))) || exit 0
  done
fi
echo "The firewall would close $port to $address, from which you are connected now."
echo "Add its network to firewall.ssh in hosts.yaml."
