# shellcheck shell=bash disable=SC1091
[ -f /etc/profile ] && source /etc/profile
export PGDATA=/var/lib/pgsql/15/data
# Each installation overwrites this file; settings of one's own go there.
[ -f /var/lib/pgsql/.pgsql_profile ] && source /var/lib/pgsql/.pgsql_profile
