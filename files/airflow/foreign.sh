# shellcheck shell=bash
: "${home:?}"
# Units and processes of an Airflow that was set up by hand, and a home on a share.
shopt -s nullglob
for file in /etc/systemd/system/airflow*.service /usr/lib/systemd/system/airflow*.service; do
  grep -q '^ExecStart=/opt/airflow/' "$file" || echo "${file##*/}"
done
for folder in /proc/[0-9]*; do
  { read -rd '' _ && read -rd '' program; } <"$folder/cmdline" || continue
  [[ ${program##*/} == airflow && $program != /opt/airflow/* ]] || continue
  grep -qE '/airflow-[a-z-]+\.service' "$folder/cgroup" || echo "$program (pid ${folder##*/})"
done 2>/dev/null
read -r kind source < <(findmnt -n -o FSTYPE,SOURCE --target "$home" 2>/dev/null)
[[ ${kind-} != *nfs* ]] || echo "$home on $source"
exit 0
