# shellcheck shell=bash
: "${target:?}" "${apart:?}" "${mark:?}" "${made_from:?}" "${fingerprint:?}"
: "${index:?}" "${trusted:?}" "${netrc:?}"
: "${python:?}" "${python_version:?}" "${python_mark:?}" "${python_made_from:?}"
: "${imports:?}" "${not_imported:?}" "${opt:?}" "${tools:?}" "${cache:?}"
# It is built in a directory that only the build sees under the final path, because programs in it
# contain that path. It takes that place when it is complete; nothing runs from it before.
set -euo pipefail
umask 022
words=$index
read -ra index <<<"$words"
read -ra trusted <<<"$trusted"
if [[ $(cat "$python_mark" 2>/dev/null) != "$python_made_from "* ]]; then
  echo "Python $python_version is not installed: fab python-build"
  exit 1
fi
former=$opt/.former-${target##*/}
unset NETRC
if [[ -e $former && ! -e $mark ]]; then # an earlier run was cut off
  rm -rf "$target"
  mv "$former" "$target"
fi
undo() {
  if (($1)); then
    rmdir "$target" 2>/dev/null || :
    echo "$target was not installed; what was there was not changed."
    echo 'Packages come from sources.pypi in hosts.yaml: an index, or a wheelhouse.'
  fi
  rm -rf "$tools" "$cache" "$apart" "$former" "${NETRC:-$cache}"
}
trap 'undo $?' EXIT
rm -rf "$tools" "$opt"/.building-* "$former"
if [[ $netrc ]]; then
  NETRC=$(mktemp)
  export NETRC # pip and uv read it
  printf '%s\n' "$netrc" >"$NETRC"
fi
"$python" -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes \
  "${index[@]}" "${trusted[@]}" -r "$opt/build-tools.lock"

build() {
  mount --bind "$apart" "$target"
  export UV_CACHE_DIR=$cache UV_LINK_MODE=copy UV_NO_PROGRESS=1 VIRTUAL_ENV=$target
  local uv=$tools/bin/uv index install
  read -ra index <<<"$words"
  install=(-q --no-deps --require-hashes "${index[@]}")
  "$uv" venv -q --allow-existing --python "$python" "$target"
  "$uv" pip install "${install[@]}" -r "$opt/build-tools.lock"
  "$uv" pip install "${install[@]}" --no-build-isolation --compile-bytecode -r "$target.lock"
  "$uv" pip uninstall -q uv wheel poetry-core
  rm -f "$target/.lock" # uv's, which anybody may write
  "$uv" pip check
  local empty
  empty=$(mktemp -d)
  chown nobody: "$empty"
  # As nobody, away from all settings: it is other people's code.
  (cd "$empty" && runuser -u nobody -- env -i HOME="$empty" AIRFLOW_HOME="$empty" \
    PATH=/usr/bin:/bin LANG=C.UTF-8 \
    "$target/bin/python" -IB "$tools/imports" "$not_imported" </dev/null) ||
    { rm -rf "$empty" && exit 1; }
  rm -rf "$empty"
}
mkdir -p "$apart" "$target"
printf '%s\n' "$imports" >"$tools/imports"
export -f build
export apart target cache tools python opt not_imported words
unshare --mount --propagation private bash -euo pipefail -c build
found=$(bash -c "$fingerprint")
echo "$made_from $found" >"$apart/${mark##*/}"
sync -f "$apart"
if [[ $(ls -A "$target") ]]; then
  mv "$target" "$former" # damaged; what replaces it is what it was
  mv "$apart" "$target"
else
  mv -T "$apart" "$target"
fi
for file in "$opt"/[0-9]*.lock; do # of builds that failed
  [[ -d ${file%.lock} ]] || rm -f "$file"
done
