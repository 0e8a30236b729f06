# shellcheck shell=bash
: "${folder:?}" "${series:?}"
# The system's Pythons that look for packages in a folder.
for python in "/usr/bin/python$series" /usr/libexec/platform-python; do
  [[ -x $python ]] || continue
  while read -r path; do
    [[ $path != "$folder" ]] || echo "$python"
  done < <("$python" -c 'import site; print("\n".join(site.getsitepackages()))' 2>/dev/null)
done
