#!/bin/bash
# Make a Debian root filesystem look and answer like a Rocky Linux 8 minimal installation.
# usage: unshare --mount build-image.sh BASE OUTPUT STUB_RPMS
# OUTPUT/upper becomes an overlay layer over BASE. Call it in a mount namespace of its own: then
# nothing stays mounted, however this ends.
set -euo pipefail

base=$1 output=$2 stub_rpms=$3
here=$(dirname "$(readlink -f "$0")")
root=$output/root
mkdir -p "$output/upper" "$output/work" "$root"
mount -t overlay lab-image -o "lowerdir=$base,upperdir=$output/upper,workdir=$output/work" "$root"
units=$root/usr/lib/systemd/system

# Debian's static ids collide with RHEL's (10 wheel, 26 postgres, 29 rpcuser).
renumber_groups() {
    local name number entry
    for name in uucp www-data backup list irc gnats news proxy _apt; do
        sed -i "/^$name:/d" "$root"/etc/{passwd,shadow,group,gshadow}
    done
    for name in operator src sasl staff plugdev fax voice dip sudo; do
        sed -i "/^$name:/d" "$root"/etc/{group,gshadow}
    done
    for entry in tape:33 audio:63 video:39 floppy:19; do
        name=${entry%:*} number=${entry#*:}
        sed -i "s/^$name:x:[0-9]*:/$name:x:$number:/" "$root/etc/group"
    done
    chown 0:0 "$root/var/local" "$root/var/mail"
    chroot "$root" groupadd -r -g 10 wheel
}

set_login_default() {
    sed -i "/^#\?\s*$1\s/d" "$root/etc/login.defs"
    echo "$1 $2" >> "$root/etc/login.defs"
}

# rename_unit DEBIAN RHEL [COMMAND]: Debian keeps RHEL's name as an alias or not at all.
rename_unit() {
    mv "$units/$1.service" "$units/$2.service"
    sed -i "/^Alias=/d;s|/etc/default/$1|/etc/sysconfig/$2|" "$units/$2.service"
    rm -f "$root/etc/systemd/system/$2.service" "$root"/etc/systemd/system/*.wants/"$1.service"
}

copy_tree() {
    local path mode
    (cd "$here/tree" && find . -type f) | while read -r path; do
        mode=644
        [ ! -x "$here/tree/$path" ] || mode=755
        install -D -m "$mode" "$here/tree/$path" "$root/$path"
    done
    chmod 440 "$root/etc/sudoers"
    chmod 600 "$root/etc/ssh/sshd_config"
    chmod 640 "$root/etc/chrony.keys"
    chroot "$root" chown :_chrony /etc/chrony.keys
}

install -d "$root"/etc/{sysconfig/network-scripts,yum.repos.d,dnf/vars,yum/vars,profile.d,chrony.d,rpm}
rm -f "$root"/etc/{os-release,debian_version,issue.net,motd,sudoers.d/README,timezone,machine-id}
rm -f "$root"/etc/{hostname,resolv.conf} "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
rm -rf "$root"/etc/update-motd.d/* "$root"/etc/cron.daily/{apt-compat,dpkg} "$root/etc/cron.d/e2scrub_all"
# SysV scripts would come back as ssh.service, chrony.service and cron.service.
rm -rf "$root"/etc/init.d/* "$root"/etc/rc?.d/*

renumber_groups
rename_unit ssh sshd
rename_unit cron crond
rename_unit chrony chronyd
# shellcheck disable=SC2016  # $OPTIONS is systemd's
sed -i 's|^ExecStart=.*|ExecStart=!/usr/sbin/chronyd -f /etc/chrony.conf $OPTIONS|;/^ConditionCapability/d' \
    "$units/chronyd.service"
rm -rf "$root"/etc/chrony/* "$root"/usr/lib/systemd/ntp-units.d/*
ln -s ../chrony.conf "$root/etc/chrony/chrony.conf"
rm -f "$root/etc/hosts"
copy_tree

ln -s ../usr/lib/os-release "$root/etc/os-release"
for name in setsebool getsebool matchpathcon restorecon; do
    ln -s ../lib/lab/selinux "$root/usr/sbin/$name"
done
for name in redhat-release centos-release system-release; do
    ln -s rocky-release "$root/etc/$name"
done
: > "$root/etc/motd"
ln -sfn ../selinux/config "$root/etc/sysconfig/selinux"
ln -sfn ../usr/share/zoneinfo/UTC "$root/etc/localtime"
ln -sfn ../bin/python3 "$root/usr/libexec/platform-python"
ln -sfn dnf-3 "$root/usr/bin/yum"
set_login_default UMASK 077
set_login_default USERGROUPS_ENAB yes
set_login_default SYS_UID_MIN 201
set_login_default SYS_UID_MAX 999
set_login_default CREATE_HOME yes

chroot "$root" systemctl --quiet preset-all
ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# What makes no sense in a container, or would load the machine thirteen times at once.
for unit in systemd-timesyncd.service systemd-networkd.service systemd-networkd-wait-online.service \
    NetworkManager-wait-online.service e2scrub_reap.service e2scrub_all.timer fstrim.timer \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer dnf-makecache.timer \
    getty@tty1.service console-getty.service systemd-pstore.service; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done

# apt must be no way out: a Rocky host has none.
mkdir -p "$root/usr/lib/deb"
for name in apt apt-cache apt-cdrom apt-config apt-get apt-key apt-mark dpkg; do
    [ ! -e "$root/usr/bin/$name" ] || mv "$root/usr/bin/$name" "$root/usr/lib/deb/$name"
done
rm -rf "$root"/etc/apt "$root"/var/lib/apt/lists/*
# Debian ships plugins of dnf that Rocky does not; one invents a repository of its own, another one
# is in an RPM of its own.
rm -f "$root"/usr/lib/python3/dist-packages/dnf-plugins/{leaves,local,show_leaves,versionlock}.py
rm -f "$root"/etc/dnf/plugins/versionlock.*
sed -i 's/^enabled *=.*/enabled = 0/' "$root/etc/dnf/plugins/debuginfo-install.conf"

mkdir -p "$root/stub-rpms"
mount --bind "$stub_rpms" "$root/stub-rpms"
chroot "$root" sh -c 'rpm --initdb && rpm -i --justdb --nodeps --force-debian /stub-rpms/*/*.rpm'
umount "$root/stub-rpms"
rmdir "$root/stub-rpms"

umount "$root"
rm -rf "$root" "$output/work"
