# shellcheck shell=bash
: "${old:?}" "${new:?}" "${data:?}" "${empty:?}" "${parameters:?}"
# Whether pg_upgrade can upgrade this server, which goes on meanwhile. `empty` is a database of the
# new version to compare with, and is removed again.
export LC_ALL=C

as_postgres() {
  runuser -u postgres -- env --chdir="${empty%/*}" "$@"
}
trap 'as_postgres rm -rf "$empty"' EXIT

spaces=$(as_postgres psql -XqAt -c \
  "select string_agg(spcname, ', ') from pg_tablespace where spcname !~ '^pg_'")
if [[ $spaces ]]; then
  echo "There are tablespaces ($spaces); replicas could not be copied beside their old ones."
  exit 1
fi

known=$(as_postgres "$new/postgres" --describe-config | cut -f 1)
unknown=$(comm -23 <(tr ' ' '\n' <<<"$parameters" | sort -u) <(sort -u <<<"$known"))
if [[ $unknown ]]; then
  echo "The new version has no parameter ${unknown//$'\n'/, }: take it out of postgres.parameters."
  exit 1
fi

if ! as_postgres "$new/pg_upgrade" --check --link --old-bindir="$old" --new-bindir="$new" \
  --old-datadir="$data" --new-datadir="$empty"; then
  as_postgres find "$empty/pg_upgrade_output.d" -name '*.txt' -exec tail -n 20 {} +
  exit 1
fi

if command -v pgbackrest >/dev/null &&
  ! as_postgres pgbackrest --no-config --stanza=check --pg1-path="$empty" \
    --repo1-path="$empty/repository" --lock-path="$empty/lock" --log-level-file=off \
    --no-online stanza-create; then
  echo 'This pgBackRest does not know the new version. To get a newer one: fab postgres.upgrade'
  exit 1
fi
