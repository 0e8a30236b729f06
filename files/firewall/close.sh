# shellcheck shell=bash
: "${address:?}" "${record:?}" "${opened:?}"
# Takes back what `unwanted`, a function, finds in the zone of the address: now and after a reboot.
zone=$(firewall-cmd --get-zone-of-interface="$(
  ip -o -4 addr show to "$address" | awk '{ print $2; exit }'
)" 2>/dev/null) || zone=$(firewall-cmd --get-default-zone)

listed() { # a filter for --list-all
  while read -r key rest; do
    case $key in
      services: | ports: | protocols:) for word in $rest; do echo "${key%:} $word"; done ;;
      rule) echo "rules_str rule $rest" ;;
    esac
  done
}

close() { # OPTION...   firewall-cmd takes one kind of thing at a time
  local kind line found options
  mapfile -t found < <(firewall-cmd "$@" --zone="$zone" --list-all | listed | unwanted)
  for kind in services/service ports/port protocols/protocol rules_str/rich-rule; do
    options=()
    for line in "${found[@]}"; do
      [[ $line != "${kind%/*} "* ]] || options+=("--remove-${kind#*/}=${line#* }")
    done
    [[ ! ${options[*]-} ]] || firewall-cmd "$@" --zone="$zone" "${options[@]}"
  done
}

close --permanent
close
install -d "${record%/*}"
printf '%s' "${opened:+$opened$'\n'}" >"$record"
