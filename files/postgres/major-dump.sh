# shellcheck shell=bash
: "${programs:?}" "${folder:?}"
# A logical copy of the database airflow and of the roles, whatever becomes of the files.
as_postgres() {
  runuser -u postgres -- "$@"
}

as_postgres mkdir -p -m 0700 "$folder"
as_postgres "$programs/pg_dumpall" --globals-only --file="$folder/globals.sql"
as_postgres "$programs/pg_dump" --format=custom --file="$folder/airflow.dump" airflow
as_postgres du -h "$folder/globals.sql" "$folder/airflow.dump"
