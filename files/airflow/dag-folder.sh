# shellcheck shell=bash
: "${folder:?}"
# Prints a digest of the DAGs' content, the seconds since anything in the folder has changed, and the
# release that runs. Bytecode and hidden files are no DAGs; times of files differ from server to
# server, and say nothing. The links of a release are followed.
cd "$folder" || exit
ignored=('(' -name '.?*' -o -name __pycache__ -o -name '*.pyc' ')' -prune)
digest=$(timeout 20 find -L . "${ignored[@]}" -o -type f -print0 | LC_ALL=C sort -z |
  xargs -0 -r sha256sum | sha256sum)
changed=$({
  stat -c %Z .releases/current 2>/dev/null
  timeout 20 find . "${ignored[@]}" -o -printf '%C@\n'
} | sort -n | tail -n 1)
age=$(($(date +%s) - ${changed%.*}))
release=$(readlink .releases/current 2>/dev/null) || release=none
echo "${digest%% *} $((age > 0 ? age : 0)) $release"
