# shellcheck shell=bash
: "${asked:?}" "${netrc:?}"
# Tests whether URLs answer: lines of a kind and a URL, with dnf's variables. Prints for each its
# number, the HTTP code or 000, the URL as requested, and curl's message.
declare -A variables=()
for file in /etc/yum/vars/* /etc/dnf/vars/*; do
  [[ ! -f $file ]] || variables[${file##*/}]=$(head -n 1 "$file")
done
variables[elmajor]=$(sed -n 's/^PLATFORM_ID="platform:el\([0-9]*\)"$/\1/p' /etc/os-release)
variables[basearch]=$(uname -m)
: "${variables[releasever]:=${variables[elmajor]}}"
proxy=$(sed -nE 's/^ *proxy *= *(.+)/\1/p' /etc/dnf/dnf.conf 2>/dev/null)

filled() { # URL   replaces $name and ${name} as dnf does
  local url=$1 name
  for name in "${!variables[@]}"; do
    url=${url//\$\{$name\}/${variables[$name]}}
    url=${url//\$$name/${variables[$name]}}
  done
  echo "$url"
}

options=()
if [[ $netrc ]]; then
  logins=$(mktemp)
  trap 'rm -f "$logins"' EXIT
  printf '%s\n' "$netrc" >"$logins"
  options=(--netrc-file "$logins")
fi

fetch() { # PROXY URL OPTION...   the first two may contain a password: not passed as arguments
  curl -sSL -m 20 -o /dev/null -w '%{http_code}' -K <(
    echo "url = \"$2\""
    [[ ! $1 ]] || echo "proxy = \"$1\""
  ) "${options[@]}" "${@:3}" 2>&1
}

one() { # NUMBER KIND URL
  local url by='' said
  url=$(filled "$3")
  case $2 in
    repository) url=${url%/}/repodata/repomd.xml by=$proxy ;;
    index) url=${url%/}/apache-airflow/ ;;
  esac
  said=$(fetch "$by" "$url" -I)
  # Some servers do not support HEAD.
  [[ $said == *[23][0-9][0-9] ]] || said=$(fetch "$by" "$url" -r 0-0)
  said="$1 ${said: -3} $(sed -E 's|//[^/@]*@|//|' <<<"$url") ${said%???}"
  printf '%s\n' "${said//$'\n'/ }" # in one piece: others print at the same time
}

number=0
while read -r kind url; do
  one "$number" "$kind" "$url" &
  number=$((number + 1))
done <<<"$asked"
wait
