# shellcheck shell=bash
# Every extension is at the version that the installed packages have, in all databases.
ask() {
  runuser -u postgres -- env PGOPTIONS='-c synchronous_commit=local' \
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

while IFS= read -r name; do
  ask -d "dbname='${name//\'/\\\'}'" <<'SQL'
select format('alter extension %I update', extname)
from pg_extension join pg_available_extensions on name = extname
where default_version is distinct from installed_version
\gexec
SQL
done < <(ask -d postgres -c 'select datname from pg_database where datallowconn')
