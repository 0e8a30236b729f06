#!/bin/bash
# Build the Debian root filesystem that the lab's hosts are made from.
# usage: build-base.sh OUTPUT SUITE APT_OPTIONS SOURCES…
set -euo pipefail

output=$1 suite=$2 apt_options=$3
shift 3
here=$(dirname "$(readlink -f "$0")")
packages=$(grep -v '^#' "$here/base.packages" | paste -sd,)

# shellcheck disable=SC2016  # $1 is mmdebstrap's
# apt's lists stay: the package repository is resolved against exactly this state.
mmdebstrap --quiet --variant=minbase --include="$packages" --aptopt="$apt_options" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --skip=cleanup/apt/lists \
    --customize-hook='chroot "$1" localedef -i en_US -f UTF-8 en_US.UTF-8' \
    "$suite" "$output" "$@"
