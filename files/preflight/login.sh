# shellcheck shell=bash
: "${logins:?}" "${address:?}" "${port:?}"
# Prints the settings of sshd and sudo for accounts that log in by key: USER@ADDRESS, or USER@ for
# an account that logs in from the address of this session.
origin='' pid=$$
while ((pid > 1)) && [[ ! $origin ]]; do
  while IFS= read -rd '' line; do
    [[ $line != SSH_CONNECTION=* ]] || origin=${line#*=} origin=${origin%% *}
  done 2>/dev/null <"/proc/$pid/environ"
  while read -r key value _; do
    [[ $key != PPid: ]] || parent=$value
  done <"/proc/$pid/status"
  pid=$parent
done
echo "origin ${origin:-unknown}"
for login in $logins; do
  user=${login%@*} from=${login#*@}
  from=${from:-${origin:-$address}}
  echo "login $user $from"
  sshd -T -C "user=$user,host=$from,addr=$from,laddr=$address,lport=$port" 2>&1 |
    grep -E '^(allow|deny)(users|groups) |^(pubkeyauthentication|authenticationmethods|authorizedkeysfile) ' |
    sed 's/^/sshd /'
  echo "groups $(id -Gn "$user" 2>/dev/null)"
done
shopt -s nullglob
for file in /etc/sudoers /etc/sudoers.d/*; do
  [[ ${file##*/} != *[.~]* ]] || continue # as sudo itself does
  sed -nE 's/^[[:space:]]*(Defaults[^#]*requiretty.*)/sudo \1/p' "$file"
done
exit 0
