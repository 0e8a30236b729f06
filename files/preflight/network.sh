# shellcheck shell=bash
: "${address:?}" "${peers:?}" "${ports:?}"
# Prints addresses, routes to the other servers, zones of the firewall, and listeners.
while read -r _ device _ own _; do
  echo "address $device $own"
  [[ $own != "$address"/* ]] || here=$device
done < <(ip -o -4 addr show scope global)
for peer in $peers; do
  [[ $(ip -o -4 route get "$peer" 2>&1) =~ \ dev\ ([^ ]+).*\ src\ ([0-9.]+) ]] &&
    echo "route $peer ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
done

default=public
while IFS='=' read -r key value; do
  [[ $key != DefaultZone ]] || default=$value
done < <(cat /etc/firewalld/firewalld.conf 2>/dev/null)
echo "default_zone $default"
if systemctl is-active -q firewalld; then
  echo 'firewalld running'
  timeout 30 firewall-cmd --list-all-zones 2>/dev/null | sed 's/^/zones|/'
elif [[ ${here-} ]]; then # the zone that it gets when firewalld starts
  for file in /etc/firewalld/zones/*.xml; do
    grep -qs "<interface name=\"$here\"" "$file" && basename "$file" .xml | sed 's/^/zone /'
  done
  sed -n 's/^ZONE=//p' "/etc/sysconfig/network-scripts/ifcfg-$here" 2>/dev/null | sed 's/^/zone /'
fi

unit_of() { # PID   prints the unit of the process, by its control group
  local line
  while read -r line; do
    if [[ $line =~ ^(0:|[0-9]+:name=systemd):.*/([^/]+\.(service|socket|scope)) ]]; then
      echo "${BASH_REMATCH[2]}"
      return
    fi
  done <"/proc/$1/cgroup"
  echo unknown
}

while read -r _ _ _ local _ who; do
  port=${local##*:}
  [[ " $ports " == *" $port "* ]] || continue
  if [[ $who =~ \"([^\"]+)\",pid=([0-9]+) ]]; then
    name=${BASH_REMATCH[1]} pid=${BASH_REMATCH[2]}
    echo "listens $port $pid $(unit_of "$pid") $name"
  else
    echo "listens $port - kernel kernel"
  fi
done < <(ss -H -lntp)
exit 0
