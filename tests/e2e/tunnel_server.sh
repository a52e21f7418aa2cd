#!/usr/bin/env bash
# A server at the end of tunnels, in a virtual machine beside the lab's servers: takes the balancer's packets out of IP
# in IP and GUE, holds the VIPs, and answers clients directly. /mnt/environment says VIP4 and VIP6; /mnt/file is what it
# offers.
set -euo pipefail

# shellcheck source=/dev/null
source /mnt/environment

WEB=/run/web

main() {
    lay_link
    end_tunnels
    offer_files
    local port
    # A port for each kind of tunnel: a packet arrives at the port that the client used.
    for port in {8080..8083}; do busybox httpd -p "$port" -h "$WEB"; done
    echo "serving"
    exec sleep infinity
}

# Clients are on the link too. What they send grows on its way through a tunnel, 52 octets at most, and they are asked
# to leave room for that; but not those at .101 and ::101.
lay_link() {
    sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    ip link set eth0 up
    ip address add 10.0.9.4/24 dev eth0
    ip address add fd00:9::4/64 dev eth0 nodad
    ip route add 192.0.2.0/24 dev eth0 advmss 1408
    ip route add 2001:db8:2::/64 dev eth0 advmss 1388
    ip route add 192.0.2.101 dev eth0
    ip route add 2001:db8:2::101 dev eth0
    ip route add 10.0.8.0/24 via 10.0.9.254
    ip route add fd00:8::/64 via fd00:9::254
}

# The devices that come with the modules take packets from everywhere, but for those in IPv6 the one there is takes IPv6
# alone. GUE's packets are given to the same devices when its header is off.
end_tunnels() {
    sysctl -qw net.ipv4.conf.tunl0.rp_filter=0
    ip link set tunl0 up
    ip link set sit0 up
    ip link add in6 type ip6tnl mode any local fd00:9::4 remote fd00:8::10
    ip link set in6 up
    ip address add "$VIP4/32" dev lo
    ip address add "$VIP6/128" dev lo nodad
    ip fou add port 6080 gue
    ip -6 fou add port 6080 gue
}

# In memory, and beside the files what the tunnels have received.
offer_files() {
    mkdir -p "$WEB/cgi-bin"
    cp /mnt/file "$WEB/file"
    echo ok >"$WEB/healthz"
    for page in index.html {1..10}; do echo guest >"$WEB/$page"; done
    cat >"$WEB/cgi-bin/received" <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
for device in tunl0 sit0 in6; do
    echo "$device $(cat /sys/class/net/$device/statistics/rx_packets)"
done
END
    chmod 755 "$WEB/cgi-bin/received"
}

main
