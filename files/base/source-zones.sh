# shellcheck shell=bash
: "${addresses:?}"
# Zones that firewalld chooses by a packet's source, before it looks at the interface: prints those
# that would decide about one of these addresses.
number=''
to_number() { # ADDRESS: into $number
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  number=$(((a << 24) + (b << 16) + (c << 8) + d))
}
covers() { # NETWORK ADDRESS
  local bits=32 network
  [[ $1 =~ ^[0-9.]+(/[0-9]+)?$ ]] || return 1
  [[ $1 != */* ]] || bits=${1#*/}
  to_number "${1%/*}"
  network=$number
  to_number "$2"
  ((number >> (32 - bits) == network >> (32 - bits)))
}
while IFS= read -r line; do
  if [[ $line != ' '* ]]; then
    zone=${line%% *}
  elif [[ $line == '  sources: '* ]]; then
    [[ $(firewall-cmd --permanent --zone="$zone" --get-target) != ACCEPT ]] || continue
    for source in ${line#  sources: }; do
      for address in $addresses; do
        if covers "$source" "$address"; then
          echo "$zone $source $address"
          break
        fi
      done
    done
  fi
done < <(firewall-cmd --get-active-zones)
