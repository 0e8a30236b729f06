# shellcheck shell=bash
: "${user:?}" "${login:?}" "${there:?}" "${folder:?}" "${mark:?}" "${made_from:?}"
: "${fingerprint:?}" "${again:?}"
# The other server's folder is made the same as this one's; its mark goes first and comes last.
read -ra ssh <<<"$login"
on_it() { runuser -u "$user" -- "${ssh[@]}" "$there" sudo -n bash -s <<<"umask 022; $1"; }
found=$(cat "$mark" 2>/dev/null || :)
if [[ ${found% *} != "$made_from" || ${found##* } != $(bash -c "$fingerprint") ]]; then
  echo "$folder is not here, or it is damaged. First: $again"
  exit 1
fi
on_it "rm -f $mark && mkdir -p ${folder%/*}"
runuser -u "$user" -- rsync -a --checksum --delete --exclude="/${mark##*/}" \
  --rsync-path="sudo -n bash -c 'umask 022; exec rsync \"\$@\"' -" \
  -e "$login" "$folder/" "$there:$folder/"
on_it "echo '$found' >$mark"
