# shellcheck shell=bash
: "${opt:?}" "${env:?}"
# The installations on this server, one fact a line: in-use NAME, before NAME, there NAME TIME, and
# runs NAME for each that a service of Airflow runs from; TIME is when it was made. What has another
# name is somebody's own, and is left out.
name='[0-9]+(\.[0-9]+){2,3}(-[0-9a-f]{8})?'
echo "in-use $(sed -nE "s|^PATH=$opt/($name)/bin:.*|\1|p" "$env" 2>/dev/null)"
echo "before $(readlink "$opt/previous" | grep -xE "$name")"
for program in "$opt"/[0-9]*/bin/airflow; do
  folder=${program%/bin/airflow}
  [[ -e $program && ${folder##*/} =~ ^$name$ ]] || continue
  made=$(stat -c %Y "$folder/.airflow-runbook" 2>/dev/null || stat -c %Y "$folder")
  echo "there ${folder##*/} $made"
done
for pid in $(systemctl show -p MainPID 'airflow-*.service' | sed -n 's/^MainPID=//p'); do
  grep -ohE " $opt/$name/lib" "/proc/$pid/maps" 2>/dev/null
done | sort -u | sed "s|^ $opt/\(.*\)/lib$|runs \1|"
exit 0
