# What the scripts share: messages, packages, cargo. Sourced, never run.
# shellcheck shell=bash

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What the build needs, what scripts/lab needs, what the clients in it need, the servers that know the PROXY protocol
# beside nginx, and what scripts/qemu needs.
# shellcheck disable=SC2034 # used where this is sourced
{
    BUILD_PACKAGES=(build-essential pkg-config libdpdk-dev clang libclang-dev)
    LAB_PACKAGES=(iproute2 ethtool procps nginx python3)
    CLIENT_PACKAGES=(curl iputils-ping)
    PROXY_PACKAGES=(haproxy unbound)
    QEMU_PACKAGES=(qemu-system-x86 busybox-static kmod cpio)
}

say() { printf '%s\n' "$*"; }

heading() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [[ $EUID -eq 0 ]] || die "makes network namespaces, which takes root; run: sudo $0 $*"
}

# Waits until a command succeeds: wait_for SECONDS COMMAND...
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Installs those of the Debian packages that lack.
install_missing() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "needs these packages, and there is no apt-get to install them: ${missing[*]}"
    say "installing: ${missing[*]}"
    apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
}

# The package lists may be missing (a fresh container) or stale: then they are fetched, and it is tried once more.
apt_install() {
    local log options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)
    log=$(mktemp)
    keep_services_from_starting
    if DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >"$log" 2>&1 ||
        { apt-get update >"$log" 2>&1 &&
            DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >"$log" 2>&1; }; then
        let_services_start "$@"
        rm -f "$log"
        return 0
    fi
    let_services_start "$@"
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
}

POLICY=/usr/sbin/policy-rc.d

# A package that brings a service (nginx, haproxy, unbound) is wanted for its program alone.
keep_services_from_starting() {
    [[ ! -e $POLICY ]] || return 0
    printf '#!/bin/sh\n# evenkeel: while packages are installed\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

let_services_start() {
    if grep -qs '^# evenkeel:' "$POLICY"; then rm -f "$POLICY"; fi
    local service
    for service in nginx haproxy unbound; do
        if [[ " $* " == *" $service "* && -d /run/systemd/system ]]; then
            systemctl disable --quiet "$service" || true
            say "$service: its own service is left disabled; the tests start servers of their own"
        fi
    done
}

# Under sudo cargo may be the calling user's.
find_cargo() {
    local home
    home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
    if ! command -v cargo >/dev/null && [[ -x $home/.cargo/bin/cargo ]]; then
        export PATH="$home/.cargo/bin:$PATH" CARGO_HOME="$home/.cargo" RUSTUP_HOME="$home/.rustup"
    fi
    command -v cargo >/dev/null || die "cargo is not on the PATH; install Rust (https://rustup.rs) and try again"
}

# Where cargo puts what it builds.
target_directory() {
    local directory=${CARGO_TARGET_DIR:-target}
    [[ $directory == /* ]] || directory=$REPOSITORY/$directory
    printf '%s' "$directory"
}
