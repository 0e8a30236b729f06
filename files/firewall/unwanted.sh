# shellcheck shell=bash
: "${wanted:?}" "${owned:?}" "${record:?}" "${reach:?}"
# A filter. Reads what a zone lets in: `ports 22/tcp`, `services nfs`, `rules_str rule …`. Prints
# what lets in more than `wanted`, lines such as `5000/tcp 5001/tcp from 10.0.0.7 10.0.0.8`, to ports
# that are `owned` or that the file `record` names. `reach`: `within`, if all of what is let in must
# be such ports, or `across`, if a part is enough.
declare -A keep=() port_of=(
  [ssh]=22/tcp [nfs]=2049/tcp [postgresql]=5432/tcp [amqp]=5672/tcp
  [amqps]=5671/tcp [https]=443/tcp
  [etcd-client]=2379/tcp [etcd-server]=2380/tcp
)

while read -r line; do
  callers=${line#* from }
  for port in ${line%% from *}; do
    [[ $port == 22/tcp && $callers == *0.0.0.0/0* ]] || keep["record $port"]=yes
    element="protocol value=\"$port\""
    [[ $port != */* ]] || element="port port=\"${port%/*}\" protocol=\"${port#*/}\""
    for source in $callers; do
      keep["rules_str rule family=\"ipv4\" source address=\"$source\" $element accept"]=yes
    done
    [[ " $callers " == *' 0.0.0.0/0 '* ]] || continue
    keep["ports $port"]=yes keep["protocols $port"]=yes
    [[ $port != 22/tcp ]] || keep['services ssh']=yes
  done
done <<<"$wanted"

# The record is read as data: a line that is no port or protocol says nothing.
recorded=()
[[ ! -r $record ]] || mapfile -t -n 1000 recorded <"$record"
ours=()
for port in $owned "${recorded[@]}"; do
  [[ $port =~ ^([0-9]{1,5}(-[0-9]{1,5})?/[a-z]{1,10}|[a-z][a-z0-9-]{0,30})$ ]] && ours+=("$port")
done

is_ours() { # PORT   such as 5432/tcp, 5000-5100/tcp or vrrp
  local port low high span=${1%/*}
  [[ $1 != all ]] || { [[ $reach == across ]] && return; }
  for port in "${ours[@]}"; do
    [[ $port != "$1" ]] || return 0
    [[ $1 =~ ^[0-9]{1,5}(-[0-9]{1,5})?/ && $port == *"/${1#*/}" ]] || continue
    port=${port%/*} low=${port%-*} high=${port#*-}
    if [[ $reach == within ]]; then
      ((${span%-*} >= low && ${span#*-} <= high)) && return 0
    else
      ((${span%-*} <= high && ${span#*-} >= low)) && return 0
    fi
  done
  return 1
}

while IFS= read -r line; do
  [[ ! ${keep["$line"]-} ]] || continue
  kind=${line%% *} value=${line#* }
  case $kind in
    ports | protocols) port=$value ;;
    services) port=${port_of["$value"]-none} ;;
    target)
      [[ $value == ACCEPT ]] || continue
      port=all
      ;;
    *)
      [[ "$value " == *' accept '* ]] || continue
      port=none
      if [[ $value =~ \ port\ port=\"([0-9-]+)\"\ protocol=\"([a-z]+)\" ]]; then
        port=${BASH_REMATCH[1]}/${BASH_REMATCH[2]}
      elif [[ $value =~ \ protocol\ value=\"([a-z0-9-]+)\" ]]; then
        port=${BASH_REMATCH[1]}
      elif [[ $value =~ \ service\ name=\"([A-Za-z0-9_-]+)\" ]]; then
        port=${port_of[${BASH_REMATCH[1]}]-none}
      elif [[ ! $value =~ \ (source-port|icmp-type|icmp-block|forward-port|masquerade)\  ]]; then
        port=all
      fi
      ;;
  esac
  ! is_ours "$port" || echo "$line"
done
for port in "${recorded[@]}"; do
  [[ ${keep["record $port"]-} || $reach == across ]] || echo "record $port"
done
