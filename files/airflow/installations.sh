# shellcheck shell=bash
: "${opt:?}" "${env:?}"
# The installations on this server, one fact a line: in-use NAME, before NAME, there NAME TIME, and
# runs NAME for each that a service of Airflow runs from; TIME is when it was made.
echo "in-use $(sed -n "s|^PATH=$opt/\([^/:]*\)/bin:.*|\1|p" "$env" 2>/dev/null)"
echo "before $(readlink "$opt/previous")"
for program in "$opt"/[0-9]*/bin/airflow; do
  [[ -e $program ]] || continue
  folder=${program%/bin/airflow}
  made=$(stat -c %Y "$folder/.airflow-runbook" 2>/dev/null || stat -c %Y "$folder")
  echo "there ${folder##*/} $made"
done
for pid in $(systemctl show -p MainPID 'airflow-*.service' | sed -n 's/^MainPID=//p'); do
  grep -oh " $opt/[0-9][^/]*/lib" "/proc/$pid/maps" 2>/dev/null
done | sort -u | sed "s|^ $opt/\(.*\)/lib$|runs \1|"
exit 0
