"""What C programs, Python itself among them, are compiled with and against."""

from __future__ import annotations

from lab.packages.model import Package

PACKAGES: dict[str, Package] = {
    "gcc": Package(
        debs=("gcc-12", "gcc", "libgcc-12-dev", "libcc1-0"),
        requires=("glibc-devel",),
        # RHEL has these libraries beside gcc, and gcc without them.
        without=(
            *("libasan8", "libatomic1", "libhwasan0", "libitm1"),
            *("liblsan0", "libquadmath0", "libtsan2", "libubsan1"),
        ),
        remove=("/usr/bin/*lto-dump*", "/usr/lib/gcc/x86_64-linux-gnu/12/lib?san*"),
        links={"/usr/bin/cc": "gcc"},
    ),
    "cpp": Package(debs=("cpp-12", "cpp")),
    "isl": Package(debs=("libisl23",)),
    "libmpc": Package(debs=("libmpc3",)),
    "mpfr": Package(debs=("libmpfr6",)),
    "binutils": Package(
        debs=(
            *("binutils", "binutils-common", "binutils-x86-64-linux-gnu"),
            *("libbinutils", "libctf-nobfd0", "libctf0", "libgprofng0"),
        ),
    ),
    "make": Package(debs=("make",)),
    "pkgconf-pkg-config": Package(debs=("pkgconf", "pkgconf-bin", "libpkgconf3")),
    "glibc-devel": Package(debs=("libc6-dev", "libc-dev-bin"), provides=("glibc-headers",)),
    "kernel-headers": Package(debs=("linux-libc-dev",)),
    "libxcrypt-devel": Package(debs=("libcrypt-dev",)),
    "libnsl2-devel": Package(debs=("libnsl-dev",)),
    "libtirpc-devel": Package(debs=("libtirpc-dev",)),
    "rpcgen": Package(debs=("rpcsvc-proto",)),
    "openssl-devel": Package(debs=("libssl-dev",), requires=("pkgconf-pkg-config",)),
    "bzip2-devel": Package(debs=("libbz2-dev",)),
    "libffi-devel": Package(debs=("libffi-dev",)),
    "zlib-devel": Package(debs=("zlib1g-dev",)),
    "xz-devel": Package(debs=("liblzma-dev",)),
    "readline-devel": Package(debs=("libreadline-dev",)),
    "sqlite-devel": Package(debs=("libsqlite3-dev",)),
    "ncurses-libs": Package(debs=("libncurses6",)),
    "ncurses-devel": Package(debs=("libncurses-dev",)),
    "gdbm-devel": Package(debs=("libgdbm-dev", "libgdbm-compat-dev")),
    "cyrus-sasl-devel": Package(debs=("libsasl2-dev",), requires=("openssl-devel",)),
    "openldap-devel": Package(debs=("libldap-dev",), requires=("cyrus-sasl-devel",)),
    "libuuid-devel": Package(debs=("uuid-dev",)),
}
