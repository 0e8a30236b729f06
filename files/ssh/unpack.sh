# shellcheck shell=bash
: "${user:?}" "${archives:?}" "${folder:?}" "${mark:?}" "${vm1:?}" "${made_from:?}" "${noted:?}"
: "${bytecode:?}" "${fingerprint:?}" "${links:?}" "${again:?}"
# The archive from VM1 is unpacked where only root can enter, compared with what the controller
# knows of VM1's folder, and then takes the place of the folder.
set -euo pipefail
umask 022
apart=${folder%/*}/.incoming-${folder##*/}
tree=$apart/tree former=$apart/former archive=$archives.$noted
as_user() { runuser -u "$user" -- "$@"; }
refuse() {
  echo "$*"
  exit 1
}
if [[ ! $noted ]] || ! as_user test -f "$archive"; then
  refuse "$folder has not arrived from $vm1. First: $again"
fi
trap 'rm -rf "$apart"; as_user rm -f "$archive"' EXIT
rm -rf "$apart"
mkdir -p "${folder%/*}"
mkdir -m 0700 "$apart"
mkdir "$tree"
as_user cat "$archive" | tar -C "$tree" --no-same-owner -xpf -

cd "$tree"
odd=$(LC_ALL=C find . '(' -perm /6000 -o ! -user root -o ! -group root -o ! -type l -perm /022 -o \
  ! -type f ! -type d ! -type l -o -name '*[[:cntrl:]]*' ')' -print -quit)
[[ ! $odd ]] || refuse "$(printf '%q in what %s sent is no plain file of root. It was removed.' "$odd" "$vm1")"
while IFS= read -r -d '' place && IFS= read -r -d '' target; do
  [[ $target == /* ]] || target=$folder/${place%/*}/$target
  target=$(realpath -ms "$target")
  [[ $target == "$folder"/* || ($links && $target == "$links"/*) ]] ||
    refuse "$(printf '%q in what %s sent leads out of it. It was removed.' "$place" "$vm1")"
done < <(find . -type l -printf '%p\0%l\0')
[[ $(bash -c "bytecode=yes; $fingerprint") == "$noted"$'\n'"$bytecode" ]] ||
  refuse "What arrived is not the $folder of $vm1. It was removed. To send it again: $again"
echo "$made_from $noted" >"$tree/${mark##*/}"
cd /
sync -f "$tree"
if [[ -e $folder ]]; then mv "$folder" "$former"; fi
mv "$tree" "$folder"
if selinuxenabled 2>/dev/null; then restorecon -R "$folder"; fi
