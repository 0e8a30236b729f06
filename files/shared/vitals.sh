# shellcheck shell=bash
: "${record:?}" "${days:?}"
# As few processes as possible: every look at the cluster asks this of every server.
local=' ext2 ext3 ext4 xfs btrfs overlay tmpfs vfat '
read -r load </proc/loadavg && echo "load $load"
echo "cpus $(nproc)"
while read -r key value _; do
  case $key in MemTotal:) total=$value ;; MemAvailable:) echo "memory $total $value" ;; esac
done </proc/meminfo
read -r uptime </proc/uptime && echo "uptime $uptime"
declare -A paths=()
while read -r _ path kind _; do
  [[ ! $path/ =~ ^/(proc|sys|dev|run/host|run/user|run/credentials)/ ]] || continue
  [[ $local != *" $kind "* ]] || paths[$path]=yes
done </proc/self/mounts
while read -r space inodes path; do
  [[ $space == Use* ]] || echo "disk $space $inodes $path"
done < <(timeout 5 df --output=pcent,ipcent,target "${!paths[@]}")
if [[ -s $record ]]; then
  printf -v now '%(%s)T' -1
  awk -v since=$((now - days * 86400)) '$1 >= since {
    path = $0
    sub(/^[0-9]+ +[0-9]+ +[0-9]+ +/, "", path)
    if (!(path in first)) first[path] = $1 " " $2
    last[path] = $1 " " $2 " " $3
  } END { for (path in first) print "grew", first[path], last[path], path }' "$record"
fi
while IFS=: read -r key value; do
  [[ $key != 'Leap status'* ]] || echo "clock $value"
done < <(chronyc -n tracking 2>/dev/null)
while read -r unit _; do
  echo "failed $unit"
done < <(systemctl --failed --no-legend --plain --no-pager)
