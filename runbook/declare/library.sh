# shellcheck shell=bash disable=SC2034,SC2154
# What every script to a host begins with. The script that follows sets, before each step:
#   want   function: is the host already as wanted?
#   render function: the wanted text of an edited file, from the present text on stdin
#   text   the wanted text of a whole file
#   make   the commands that make it so, plain bash that a person could type
#   notes  names of the handlers to run at the end if this step changed something
#   clears names of the handlers whose work this step does if it changes something
# and once: mode (do, plan or check), mark (starts an event line), runtime (a folder that a reboot
# empties), and the paths, packages and units it will ask about.

declare -A seen_unit=() noted=() zone_values=()
paths_seen='' packages_seen='' firewall_seen='' differed=''

# Asked once for all steps of the script; asked again only after a step changed something.
forget() {
  seen_path=() ways=() seen_unit=()
  paths_seen='' packages_seen='' firewall_seen=''
}

event() { # KIND INDEX [CODE]
  local uptime rest
  read -r uptime rest </proc/uptime
  printf '%s%s %s %s %s\n' "$mark" "$1" "$2" "${uptime/./}" "${3:-0}"
}

packages_installed() { # NAME...
  if [[ ! $packages_seen ]]; then
    packages_seen=some
    rpm -q --whatprovides "${packages[@]}" >/dev/null 2>&1 && packages_seen=all
  fi
  [[ $packages_seen == all ]] || rpm -q --whatprovides "$@" >/dev/null 2>&1
}

packages_missing() { # NAME...   a line for each that is not there
  local name
  for name in "$@"; do
    rpm -q --whatprovides "$name" >/dev/null 2>&1 || printf 'not installed: %s\n' "$name"
  done
}

look_at_units() {
  local line index=0
  seen_unit=()
  while IFS= read -r line; do
    if [[ ! $line ]]; then
      index=$((index + 1))
    else
      line=${line/NeedDaemonReload=no/Files=read}
      # systemd reads the files of a masked unit when it is unmasked.
      seen_unit[${units[index]}]+=" ${line/UnitFileState=masked/UnitFileState=masked Files=read}"
    fi
  done < <(systemctl show -p ActiveState -p UnitFileState -p NeedDaemonReload -- "${units[@]}")
}

unit_is() { # UNIT STATE...   such as active, enabled, read (its files have not changed since)
  if [[ ! ${seen_unit[$1]-} ]]; then
    [[ " ${units[*]-} " == *" $1 "* ]] || units+=("$1")
    look_at_units
  fi
  local found="${seen_unit[$1]-} " state
  for state in "${@:2}"; do
    [[ $found == *"=$state "* ]] || return 1
  done
}

firewalld=org.fedoraproject.FirewallD1
firewalld_root=/org/fedoraproject/FirewallD1

# The interface's zone, runtime and permanent settings; over D-Bus at a tenth of firewall-cmd's cost.
look_at_firewall() { # INTERFACE: into $zone_values
  local current zone config now later
  zone=$(busctl call $firewalld $firewalld_root $firewalld.zone \
    getZoneOfInterface s "$1") || return 1
  zone=${zone#s \"} zone=${zone%\"}
  if [[ ! $zone ]]; then
    text_of /etc/firewalld/firewalld.conf
    [[ $current =~ (^|$'\n')DefaultZone=([^[:space:]]+) ]] || return 1
    zone=${BASH_REMATCH[2]}
  fi
  config=$(busctl call $firewalld $firewalld_root/config $firewalld.config \
    getZoneByName s "$zone") || return 1
  config=${config#o \"} config=${config%\"}
  now=$(busctl call $firewalld $firewalld_root $firewalld.zone getZoneSettings2 s "$zone") &&
    later=$(busctl call $firewalld "$config" $firewalld.config.zone getSettings2) || return 1
  zone_values=()
  note_zone now "$now"
  note_zone later "$later"
  firewall_seen=yes
}

# The strings under a key of what busctl prints: … "ports" a(ss) 1 "22" "tcp" "masquerade" b …
zone_strings() { # SETTINGS KEY: into $strings
  local rest=${1#*" \"$2\" a"} width=1 count
  strings=()
  [[ $rest != "$1" ]] || return 0
  [[ $rest != '(ss)'* ]] || width=2
  rest=${rest#* }
  count=$((${rest%% *} * width))
  ((count)) || return 0
  rest=${rest#*\"} rest=${rest%\"}
  mapfile -t -n "$count" strings <<<"${rest//\" \"/$'\n'}"
}

note_zone() { # WHEN SETTINGS: into $zone_values, as `now ports 8081/tcp`
  local strings key string index
  for key in services protocols rules_str; do
    zone_strings "$2" $key
    for string in "${strings[@]}"; do
      zone_values["$1 $key ${string//\\\"/\"}"]=yes
    done
  done
  zone_strings "$2" ports
  for ((index = 0; index < ${#strings[@]}; index += 2)); do
    zone_values["$1 ports ${strings[index]}/${strings[index + 1]}"]=yes
  done
}

zone_has() { # WHEN KEY VALUE   a port: by itself or within a range
  local value low high wanted=${3%/*}
  [[ ! ${zone_values["$1 $2 $3"]-} ]] || return 0
  [[ $2 == ports ]] || return 1
  for value in "${!zone_values[@]}"; do
    [[ $value == "$1 ports "*"/${3#*/}" ]] || continue
    value=${value##* } value=${value%/*} low=${value%-*} high=${value#*-}
    ((${wanted%-*} >= low && ${wanted#*-} <= high)) && return 0
  done
  return 1
}

firewall_answers() { # KEY VALUE... -- COMMAND...   firewall-cmd in one of its forms
  local key=$1 option value values=()
  shift
  while [[ $1 != -- ]]; do
    values+=("$1")
    shift
  done
  shift
  case $key in
    ports) option=port ;;
    services) option=service ;;
    protocols) option=protocol ;;
    rules_str) option=rich-rule ;;
  esac
  for value in "${values[@]}"; do
    "$@" "--query-$option=$value" || return 1
  done
}

firewall_zone() { # ADDRESS: into $zone and $ask, where D-Bus does not say what is open
  local interface rest
  [[ ! $firewall_seen ]] || return 0
  read -r rest interface rest < <(ip -o -4 addr show to "$1")
  ! look_at_firewall "$interface" || return 0
  ask=firewall-cmd
  systemctl is-active --quiet firewalld || ask=firewall-offline-cmd # as it will start
  zone=$($ask --get-zone-of-interface="$interface" 2>/dev/null) || zone=$($ask --get-default-zone)
}

firewall_has() { # ADDRESS KEY VALUE...   services, ports, protocols, rules_str; now and later
  local value zone='' ask=''
  firewall_zone "$1"
  shift
  if [[ ! $firewall_seen ]]; then
    firewall_answers "$@" -- "$ask" --zone="$zone" &&
      { [[ $ask != firewall-cmd ]] || firewall_answers "$@" -- "$ask" --permanent --zone="$zone"; }
    return
  fi
  for value in "${@:2}"; do
    zone_has now "$1" "$value" && zone_has later "$1" "$value" || return 1
  done
}

firewall_lets() { # ADDRESS SOURCES PORTS   now and after a reboot; 0.0.0.0/0 is everybody
  local source port element rules=() ports=() protocols=()
  for port in $3; do
    element="protocol value=\"$port\""
    if [[ $port == */* ]]; then
      element="port port=\"${port%/*}\" protocol=\"${port#*/}\""
      ports+=("$port")
    else
      protocols+=("$port")
    fi
    for source in $2; do
      rules+=("rule family=\"ipv4\" source address=\"$source\" $element accept")
    done
  done
  if [[ " $2 " != *' 0.0.0.0/0 '* ]]; then
    firewall_has "$1" rules_str "${rules[@]}"
    return
  fi
  [[ ! ${ports[*]-} ]] || firewall_has "$1" ports "${ports[@]}" || return 1
  [[ ! ${protocols[*]-} ]] || firewall_has "$1" protocols "${protocols[@]}"
}

firewall_lists() { # ADDRESS   what is open, now or later: `ports 22/tcp`, `rules_str rule …`
  local value zone='' ask=''
  firewall_zone "$1"
  if [[ $firewall_seen ]]; then
    for value in "${!zone_values[@]}"; do echo "${value#* }"; done
    return
  fi
  $ask --zone="$zone" --list-all | zone_listed
  [[ $ask != firewall-cmd ]] || $ask --permanent --zone="$zone" --list-all | zone_listed
}

zone_listed() { # a filter for --list-all
  local key rest word
  while read -r key rest; do
    case $key in
      services: | ports: | protocols:) for word in $rest; do echo "${key%:} $word"; done ;;
      rule) echo "rules_str rule $rest" ;;
    esac
  done
}

# Descriptor 9 is the lock. Commands do not get it, or a daemon that one of them leaves behind would
# hold it for ever; relay has it for as long as a command says something or may still do so.

# A command must not die of a lost connection in the middle of its work, as it would of SIGPIPE.
relay() (
  trap '' PIPE
  while IFS= read -r line || [[ $line ]]; do printf '%s\n' "$line"; done 2>/dev/null
  :
)

carry_out() { # SECONDS
  timeout --kill-after=10 "$1" bash -euo pipefail <(printf '%s\n' "$make") 2>&1 </dev/null 9>&- | relay
  return "${PIPESTATUS[0]}"
}

# A note outlives this script: if it is cut off, the next run still restarts what has to be.
take_notes() {
  local note
  for note in $notes; do
    mkdir -p "$runtime/notes" && : >"$runtime/notes/$note"
  done
}

step() { # INDEX SECONDS
  local carried_out='' worker=root refused=''
  event begin "$1"
  if want >/dev/null 2>&1 9>&-; then
    event ok "$1"
    return 0
  fi
  local note code
  if [[ $mode != 'do' ]]; then
    if [[ $mode == plan && $refused ]]; then
      printf '%s\n' "$refused"
      # A step before this one may make the way free: then nobody knows.
      if [[ ! $differed ]]; then
        event refused "$1"
        return 1
      fi
    elif [[ $mode == plan ]]; then
      differ
    fi
    differed=yes
    for note in $notes; do noted[$note]=yes; done
    for note in $clears; do unset "noted[$note]"; done
    event differs "$1"
    return 0
  fi
  if [[ $refused ]]; then
    printf '%s\n' "$refused"
    event failed "$1" 1
    return 1
  fi
  take_notes
  carry_out "$2"
  code=$? carried_out=yes
  forget
  if ((!code)); then
    for note in $clears; do rm -f "$runtime/notes/$note"; done
  fi
  if ((code)); then
    event failed "$1" "$code"
    return 1
  fi
  if ! want >/dev/null 2>&1 9>&-; then
    event no_effect "$1"
    return 1
  fi
  event changed "$1"
}

guard() { # INDEX   what must hold before anything is done
  event begin "$1"
  if want >/dev/null 2>&1 9>&-; then
    event ok "$1"
    return 0
  fi
  bash <(printf '%s\n' "$make") 2>&1 </dev/null 9>&-
  event refused "$1"
  [[ $mode == check ]]
}

waiting() { # INDEX SECONDS   changes nothing
  event begin "$1"
  if [[ $mode == plan ]] || want >/dev/null 2>&1 9>&-; then
    event ok "$1"
  elif [[ $mode == check ]]; then
    event differs "$1"
  elif carry_out "$2"; then
    event ok "$1"
  else
    event failed "$1" 124
    return 1
  fi
}

handler() { # INDEX SECONDS NOTE
  if [[ $mode != 'do' ]]; then
    [[ ${noted[$3]-} || -e $runtime/notes/$3 ]] || return 0
    event begin "$1"
    event differs "$1"
    return 0
  fi
  [[ -e $runtime/notes/$3 ]] || return 0
  event begin "$1"
  local code
  carry_out "$2"
  code=$?
  if ((code)); then
    event failed "$1" "$code"
    return 1
  fi
  rm -f "$runtime/notes/$3"
  event changed "$1"
}

probe() { # INDEX SECONDS
  event begin "$1"
  local code
  timeout --kill-after=5 "$2" bash <(printf '%s\n' "$make") 2>&1
  code=$?
  event answer "$1" "$code"
}

asked=()

ask() { # INDEX SECONDS   a probe that runs beside the others
  local answer
  exec {answer}< <(probe "$@")
  asked+=("$answer")
}

hear() { # the answers of all that were asked, in that order
  local answer
  for answer in "${asked[@]}"; do
    cat <&"$answer"
    exec {answer}<&-
  done
  asked=()
}

lock() { # WHO SECONDS   one run at a time on this host; held as long as a command of ours lives
  mkdir -p "$runtime" && exec 9>>"$runtime/lock" || return 1
  if ! flock -w "$2" 9; then
    event begin -1
    cat "$runtime/holder" 2>/dev/null
    event locked -1
    return 1
  fi
  printf '%s\n' "$1" >"$runtime/holder"
}

reboot_step() { # INDEX SECONDS   the controller waits for another boot id
  event begin "$1"
  if want >/dev/null 2>&1 9>&-; then
    event ok "$1"
    return 0
  fi
  if [[ $mode != 'do' ]]; then
    event differs "$1"
    return 0
  fi
  cat /proc/sys/kernel/random/boot_id
  event rebooting "$1"
  carry_out "$2"
}
