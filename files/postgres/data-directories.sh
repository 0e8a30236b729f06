# shellcheck shell=bash
# One line for each data directory of this server: major version, identifier, last checkpoint, and
# the state in which it is. One that pg_upgrade has put out of use has no pg_control: unusable.
export LC_ALL=C
shopt -s nullglob

value() { # NAME
  sed -n "s/^$1: *//p" <<<"$control"
}

echo directories
for folder in /var/lib/pgsql/[1-9][0-9]/data; do
  [[ -e $folder/PG_VERSION ]] || continue
  major=${folder#/var/lib/pgsql/} major=${major%/data}
  if control=$(runuser -u postgres -- "/usr/pgsql-$major/bin/pg_controldata" -D "$folder"); then
    echo "$major $(value 'Database system identifier') $(value 'Latest checkpoint location')" \
      "$(value 'Database cluster state')"
  else
    echo "$major 0 0/0 unusable"
  fi
done
