# shellcheck shell=bash
: "${url:?}" "${sha256:?}" "${file:?}" "${netrc:?}"
options=(--netrc-optional)
if [[ $netrc ]]; then
  logins=$(mktemp)
  trap 'rm -f "$logins"' EXIT
  printf '%s\n' "$netrc" >"$logins"
  options=(--netrc-file "$logins")
fi
curl -fsSL "${options[@]}" --retry 3 --connect-timeout 10 -o "$file.part" "$url" || {
  echo "$url cannot be downloaded. Name a mirror in sources.python.url of hosts.yaml."
  exit 1
}
found=$(sha256sum <"$file.part")
if [[ ${found%% *} != "$sha256" ]]; then
  rm "$file.part"
  echo "$url has the sha256 ${found%% *}, which is not sources.python.sha256 of hosts.yaml."
  echo 'Nothing was kept.'
  exit 1
fi
mv "$file.part" "$file"
