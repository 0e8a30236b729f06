# shellcheck shell=bash
: "${accounts:?}"
# Prints facts about a server: lines of a word and its values.
while IFS='=' read -r key value; do
  value=${value#\"}
  case $key in ID | VERSION_ID | PLATFORM_ID | PRETTY_NAME) echo "os $key ${value%\"}" ;; esac
done </etc/os-release
echo "arch $(uname -m)"
while read -r key value _; do
  case $key in MemTotal: | SwapTotal:) echo "memory $key $value" ;; esac
done </proc/meminfo
while read -r source size left target; do
  [[ $size != *[!0-9]* ]] && echo "disk $source $size $left $target"
done < <(timeout 10 df -l -k --output=source,size,avail,target -x tmpfs -x devtmpfs 2>/dev/null)
while read -r _ target kind options _; do
  [[ $target =~ ^/(proc|sys|run)(/|$) ]] || echo "mount $target $kind $options"
done </proc/self/mounts

# The umask with which sshd started the session; a shell in between may have changed it.
pid=$$ session=
while ((pid > 1)); do
  name='' parent=1 mask=''
  while read -r key value _; do
    case $key in Name:) name=$value ;; PPid:) parent=$value ;; Umask:) mask=$value ;; esac
  done <"/proc/$pid/status"
  [[ $name != sshd* ]] || break
  session=$mask pid=$parent
done
echo "umask $(umask) ${session:-unknown}"

read -r fips 2>/dev/null </proc/sys/crypto/fips_enabled && echo "fips $fips"
echo "selinux $(getenforce 2>/dev/null || echo Disabled)"
if [[ ! -e /etc/cloud/cloud-init.disabled ]]; then
  while IFS=':' read -r key value; do
    read -r key <<<"$key" && read -r value _ <<<"${value%%#*}" && echo "cloud $key $value"
  done < <(grep -hsE '^(manage_etc_hosts|preserve_hostname) *:' \
    /var/lib/cloud/instance/cloud-config.txt)
fi
units=(fapolicyd.service nftables.service iptables.service)
index=0
while read -r state; do
  echo "unit ${units[index]} $state"
  index=$((index + 1))
done < <(systemctl is-active "${units[@]}")

# A proxy URL may contain a password.
for name in http_proxy https_proxy no_proxy HTTPS_PROXY NO_PROXY; do
  value=${!name-}
  [[ ! $value ]] || echo "proxy $name $(sed -E 's|//[^/]*@|//|g' <<<"$value")"
done
sed -nE 's|//[^/]*@|//|; s/^ *proxy *= *(.+)/proxy dnf \1/p' /etc/dnf/dnf.conf 2>/dev/null
sed -nE 's/^PASS_MAX_DAYS[[:space:]]+([0-9]+).*/max_days \1/p' /etc/login.defs 2>/dev/null
echo "today $(($(date +%s) / 86400))"
for name in $accounts; do
  IFS=: read -r _ _ last _ most _ inactive expires _ < <(getent shadow "$name") || continue
  echo "account $name ${last:--} ${most:--} ${inactive:--} ${expires:--}"
done
exit 0
