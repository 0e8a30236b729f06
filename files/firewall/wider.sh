# shellcheck shell=bash
: "${address:?}"
# Prints what lets in more than it should now, as `unwanted`, a function, finds it.
zone=$(firewall-cmd --get-zone-of-interface="$(
  ip -o -4 addr show to "$address" | awk '{ print $2; exit }'
)" 2>/dev/null) || zone=$(firewall-cmd --get-default-zone) || exit
firewall-cmd --zone="$zone" --list-all | while read -r key rest; do
  case $key in
    services: | ports: | protocols:) for word in $rest; do echo "${key%:} $word"; done ;;
    rule) echo "rules_str rule $rest" ;;
    target:) echo "target $rest" ;;
  esac
done | unwanted
