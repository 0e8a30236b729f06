# shellcheck shell=bash
: "${folder:?}"
# Prints a digest of the DAGs, the seconds since anything in the folder has changed, and the release
# that runs. The name of a release ends with the digest of what is in it, so only the files of others
# are read. Bytecode and hidden files are no DAGs; times of files differ from server to server, and
# say nothing.
cd "$folder" || exit
ignored=('(' -name '.?*' -o -name __pycache__ -o -name '*.pyc' ')' -prune)
release=$(readlink .releases/current 2>/dev/null) || release=none
digest=$({
  echo "$release"
  timeout 20 find . "${ignored[@]}" -o -type l -printf '%p %l\n' | LC_ALL=C sort
  timeout 20 find . "${ignored[@]}" -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
} | sha256sum)
changed=$({
  stat -c %Z .releases/current 2>/dev/null
  timeout 20 find . "${ignored[@]}" -o -printf '%C@\n'
} | sort -n | tail -n 1)
age=$(($(date +%s) - ${changed%.*}))
echo "${digest%% *} $((age > 0 ? age : 0)) $release"
