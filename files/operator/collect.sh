# shellcheck shell=bash
: "${patterns:?}" "${minutes:?}" "${size:?}"
# Prints the end of each file that the patterns match; with `minutes`, only of those that were written
# to that lately. A folder of another account is read as that account: whatever it puts there, such as
# a link, shows no more than it may read itself.

reader() { # PATH   the account that decides what is at this path; fails if there are several
  local path folder owner mode kind found=root
  folder=$(realpath -- "${1%/*}" 2>/dev/null) || return 1
  for path in "$1" "$folder/-"; do
    while [[ $path == */* ]]; do
      path=${path%/*}
      read -r owner mode kind < <(stat -c '%U %a %F' -- "${path:-/}" 2>/dev/null) || return 1
      # Anybody, or a group besides root, may write there; the mode of a link means nothing.
      if [[ $kind == directory ]]; then
        ((!(8#$mode & 8#002))) || return 1
        [[ $owner != root ]] || ((!(8#$mode & 8#020))) || return 1
      fi
      [[ $owner != root ]] || continue
      [[ $found == root || $found == "$owner" ]] || return 1
      found=$owner
    done
  done
  echo "$found"
}

as_reader() { # ACCOUNT COMMAND...
  if [[ $1 == root ]]; then
    timeout 20 "${@:2}"
  else
    timeout 20 runuser -u "$1" -- "${@:2}"
  fi
}

one() { # PATH
  local path=$1 account kind age
  echo "== $path"
  if [[ ! -e $path && ! -L $path ]]; then
    echo 'is not there'
    return
  fi
  account=$(reader "$path") || account=''
  if [[ ! $account ]]; then
    echo 'left out: several accounts may write to its folder'
    return
  fi
  # Links of root's own, such as /etc/os-release, are followed.
  kind=$(as_reader "$account" stat -Lc '%F %Y' -- "$path" 2>/dev/null) || kind=''
  if [[ $kind != 'regular '* ]] || { [[ $account != root && -L $path ]]; }; then
    echo 'left out: not a file that its owner can read'
    return
  fi
  printf -v age '%(%s)T' -1
  age=$(((age - ${kind##* }) / 60))
  if [[ $minutes ]] && ((age > minutes)); then
    echo 'not written to lately'
    return
  fi
  as_reader "$account" tail -c "$size" -- "$path" 2>&1
  echo
}

cd /
shopt -s nullglob
set -f
read -ra words <<<"$patterns"
set +f
for word in "${words[@]}"; do
  # shellcheck disable=SC2206 # a pattern
  files=($word)
  for file in "${files[@]}"; do
    one "$file"
  done
done
