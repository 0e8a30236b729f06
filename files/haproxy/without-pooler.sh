# shellcheck shell=bash
: "${servers:?}" "${pooler:?}"
# Prints the database servers on which PostgreSQL takes connections, but PgBouncer does not.
takes() { timeout 3 bash -c "</dev/tcp/$1/$2" 2>/dev/null; }
for server in $servers; do
  ! takes "$server" 5432 || takes "$server" "$pooler" || echo "$server"
done
