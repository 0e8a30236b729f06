# shellcheck shell=bash disable=SC2034,SC2154
# The part of library.sh that looks at files and folders, some of which other accounts control.

declare -A seen_path=() ways=()

# The paths of all steps, and every folder on the way there.
look_at_paths() {
  local path line
  local -A all=()
  for path in "${paths[@]}"; do
    while [[ $path && ! ${all[$path]-} ]]; do
      all[$path]=yes path=${path%/*}
    done
  done
  while IFS= read -r line; do
    seen_path[${line##*|}]=${line%|*}
  done < <(stat -c '%F|%a|%U|%G|%n' -- / "${!all[@]}" 2>/dev/null)
  paths_seen=yes
}

# Who works in a folder: root, if only root can change what is on the way there; else the owner of
# what is wanted in it. Answers into $worker, or says in $refused why nobody does.
way_to() { # FOLDER OWNER
  local key="$1 $2" part=${1:-/} found
  worker=root refused=''
  if [[ ! ${ways[$key]-} ]]; then
    [[ ! $1 ]] || way_to "${1%/*}" "$2"
    found=${seen_path[$part]-}
    [[ ! $found || $refused ]] || pass_part "$part" "$2"
    ways[$key]="$worker|$refused"
  fi
  worker=${ways[$key]%%|*} refused=${ways[$key]#*|}
}

pass_part() { # FOLDER OWNER   one part of the way, of which stat says $found
  local kind mode owner rest
  IFS='|' read -r kind mode owner rest <<<"$found"
  if [[ $kind == 'symbolic link' ]]; then
    pass_link "$1" "$2" "$owner"
  elif [[ $owner != root ]]; then
    worker=$2
    [[ $owner == "$2" ]] ||
      refused="$1 belongs to $owner: nothing is written there. To make it root's: chown root: $1"
  elif ((8#$mode & 8#022)) && [[ $worker == root ]]; then
    worker=$2
    [[ $2 != root ]] && ((8#$mode & 8#1000)) ||
      refused="$1 can be written by others than root: nothing is written there. Way out: chmod go-w $1"
  fi
}

pass_link() { # LINK OWNER ITS_OWNER
  if [[ $worker != root || $3 != root ]]; then
    refuse_link "$1" "$3"
  elif ! roots_alone "$1"; then
    worker=$2
    [[ $2 != root && $(stat -L -c %U -- "$1") == "$2" ]] ||
      refused="$1 is a link to a place that others than root can change: nothing is written there"
  fi
}

refuse_link() { # LINK ITS_OWNER
  local remove="rm $1"
  [[ $worker == root ]] || remove="runuser -u $worker -- $remove"
  refused="$1 is a link (${2}'s), and is not followed. To remove it: $remove"
}

roots_alone() { # FOLDER   also what links on the way there lead through
  local mode owner rest
  while read -r mode owner rest; do
    [[ ! $mode =~ ^[dl][-rwxsStT]{9}$ ]] || [[ $owner == root && ! $mode =~ ^d(.{4}|.{7})w ]] || return 1
  done < <(namei -om -- "$1")
}

path_is() { # PATH KIND MODE OWNER GROUP
  [[ $paths_seen ]] || look_at_paths
  local found=${seen_path[$1]-}
  way_to "${1%/*}" "$4"
  [[ ! $found || $refused ]] || see_path "$@"
  found=${found/regular empty file/regular file}
  [[ ! $refused && $found == "$2|${3#0}|$4|$5" ]]
}

see_path() { # PATH KIND MODE OWNER GROUP   what is there now, of which stat says $found
  local kind mode owner rest
  IFS='|' read -r kind mode owner rest <<<"$found"
  if [[ $kind == 'symbolic link' && ($2 == directory || $worker != root || $owner != root) ]]; then
    refuse_link "$1" "$owner"
  elif [[ $kind == directory && $2 == directory && $worker != root && $owner != "$4" ]]; then
    refused="$1 belongs to $owner, not $4. To move it away: runuser -u $4 -- mv $1 $1.old"
  fi
}

text_of() { # PATH [ACCOUNT]: into $current, without a fork where root reads
  current=''
  if [[ ${2:-root} != root ]]; then
    current=$(runuser -u "$2" -- timeout 10 cat -- "$1" && printf .) && current=${current%.}
    return
  fi
  [[ -r $1 ]] && { IFS= read -rd '' current <"$1" || :; }
}

holds_text() { # PATH
  local current
  text_of "$1" "$worker" && [[ $current == "$text" ]]
}

holds_rendered() { # PATH
  local current wanted
  text_of "$1" "$worker" &&
    wanted=$(printf '%s' "$current" | render && printf .) && [[ $wanted == "$current." ]]
}

text_now() { # PATH
  local current
  ! text_of "$1" "$worker" || printf '%s' "$current"
}

text_diff() { # PATH [SECRET]   what follows SECRET on a line is not shown
  if [[ ! ${2-} ]]; then
    diff -u --label "$1 now" --label "$1 wanted" -- <(text_now "$1") <(printf '%s' "$text") || :
    return
  fi
  diff -u --label "$1 now" --label "$1 wanted" -- <(text_now "$1" | hidden "$2") \
    <(printf '%s' "$text" | hidden "$2") && echo "$1 differs in a secret, in its owner or its mode"
}

hidden() { # SECRET   a filter
  sed -E "s/($1).*/\1(secret)/"
}

rendered_diff() { # PATH
  diff -u --label "$1 now" --label "$1 wanted" -- <(text_now "$1") <(text_now "$1" | render) || :
}
