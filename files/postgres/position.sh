# shellcheck shell=bash
: "${data:?}" "${programs:?}"
# One line: identifier, timeline and position of this server's PostgreSQL, and whether it leads,
# follows or is stopped.
# Nothing if it has no database.
export LC_ALL=C
[[ -e $data/PG_VERSION ]] || exit 0
control=$("$programs/pg_controldata" -D "$data")

value() { # NAME
  sed -n "s/^$1: *//p" <<<"$control"
}

system=$(value 'Database system identifier')
if read -r timeline position state < <(timeout 5 runuser -u postgres -- psql -XqAt -F ' ' 2>/dev/null <<'SQL'
select case when pg_is_in_recovery() then
  (select greatest(c.timeline_id, r.min_recovery_end_timeline, w.received_tli)
   from pg_control_checkpoint() c, pg_control_recovery() r
   left join pg_stat_wal_receiver w on true)
  else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end,
  case when pg_is_in_recovery() then
  greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
  else pg_current_wal_flush_lsn() end,
  case when pg_is_in_recovery() then 'follows' else 'leads' end
SQL
) && [[ $state ]]; then
  echo "$system $timeline $position $state"
  exit 0
fi

# Stopped: what it would replay first when it starts counts as well.
timeline=$(value "Latest checkpoint's TimeLineID")
position=$(value 'Latest checkpoint location')
recovery=$(value "Min recovery ending loc's timeline")
if ((recovery >= timeline)); then
  timeline=$recovery position=$(value 'Minimum recovery ending location')
fi
last=$(timeout 12 "$programs/pg_waldump" -p "$data/pg_wal" -t "$timeline" -s "$position" 2>/dev/null |
  tail -1)
record='len \(rec/tot\): *[0-9]+/ *([0-9]+),.* lsn: ([0-9A-F]+)/([0-9A-F]+),'
if [[ $last =~ $record ]]; then
  end=$(((0x${BASH_REMATCH[2]} << 32) + 0x${BASH_REMATCH[3]} + BASH_REMATCH[1] + 7 & ~7))
  printf -v position '%X/%X' $((end >> 32)) $((end & 0xFFFFFFFF))
fi
echo "$system $timeline $position stopped"
