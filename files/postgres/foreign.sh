# shellcheck shell=bash
: "${ours:?}"
# Services and data of PostgreSQL and etcd that this project did not set up.
shopt -s nullglob
[[ ! -e $ours ]] || exit 0
while read -r unit _; do
  echo "$unit"
done < <(systemctl list-units --no-legend --plain --state=active 'postgresql*.service' \
  patroni.service etcd.service)
for file in /var/lib/pgsql/data/PG_VERSION /var/lib/pgsql/*/data/PG_VERSION \
  /var/lib/etcd/member /var/lib/etcd/*/member; do
  [[ ! -e $file ]] || echo "${file%/*}"
done
