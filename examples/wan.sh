#!/bin/sh
# A WAN on one machine: a network namespace for each site, veth links shaped by TBF to the capacities of the file.
#
#   wan.sh FILE up                    make the namespaces and links
#   wan.sh FILE down                  remove them
#   wan.sh FILE demo [FROM TO,TO,..]  up, start sites and a controller, send a file, down; SCHEME and SIZE (MB) from the environment
#
# FILE is like wan.toml; `valecast qc demo NETWORK --wan-config` prints one for any network. Needs root, ip and tc.
set -eu

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
file=$1 what=$2
valecast=${VALECAST:-valecast}

# netns, interface and capacity of each port, a line each.
links() {
    awk -F' *= *' '
        /^\[\[switch.port\]\]/ { i = n = c = "" }
        $1 == "interface" { i = $2 } $1 == "netns" { n = $2 } $1 == "capacity" { c = $2 }
        $1 == "capacity" || $1 == "netns" || $1 == "interface" {
            if (i != "" && n != "" && c != "") { gsub(/"/, "", i); gsub(/"/, "", n); print n, i, c; i = n = c = "" }
        }' "$file"
}

up() {
    links | cut -d' ' -f1 | sort -u | while read -r netns; do
        ip netns add "$netns"
        ip -n "$netns" link set lo up
    done
    # Each pair once: w0-1 in one namespace and w1-0 in the other.
    links | while read -r netns interface capacity; do
        a=${interface#w} b=${a#*-} a=${a%-*}
        if [ "$a" -lt "$b" ]; then
            peer=$(links | awk -v i="w$b-$a" '$2 == i { print $1 }')
            ip link add "$interface" netns "$netns" type veth peer name "w$b-$a" netns "$peer"
        fi
    done
    links | while read -r netns interface capacity; do
        ip -n "$netns" link set "$interface" up
        tc -n "$netns" qdisc add dev "$interface" root tbf rate "${capacity}bit" burst 64kb latency 50ms
    done
}

down() {
    links | cut -d' ' -f1 | sort -u | while read -r netns; do
        ip netns del "$netns" 2>/dev/null || true
    done
}

demo() {
    from=$1 to=$2
    dir=$(mktemp -d)
    pids=
    clean() {
        # shellcheck disable=SC2086
        [ -z "$pids" ] || kill $pids 2>/dev/null || true
        wait
        down
        rm -rf "$dir"
    }
    trap clean EXIT
    trap 'exit 130' INT TERM
    up
    (echo "run_dir = \"$dir/run\""; cat "$file") > "$dir/sites.toml"
    mkdir "$dir/run"
    printf 'socket = "%s"\nstate_dir = "%s"\n' "$dir/run/qc-controller.sock" "$dir/state" > "$dir/te.toml"
    "$valecast" qc serve "$dir/te.toml" 2> "$dir/te.log" & pids="$pids $!"
    "$valecast" run "$dir/sites.toml" 2> "$dir/sites.log" & pids="$pids $!"
    for site in $(echo "$to" | tr , ' '); do
        mkdir "$dir/$site"
        while ! [ -S "$dir/run/$site.qc.sock" ]; do sleep 0.1; done
        "$valecast" qc recv --run-dir "$dir/run" --site "$site" --dir "$dir/$site" > "$dir/$site.log" 2>&1 & pids="$pids $!"
    done
    head -c "${SIZE:-25}000000" /dev/urandom > "$dir/demo.bin"
    "$valecast" qc send --run-dir "$dir/run" --site "$from" --to "$to" --scheme "${SCHEME:-best}" --wait "$dir/demo.bin"
    for site in $(echo "$to" | tr , ' '); do
        cmp "$dir/demo.bin" "$dir/$site/demo.bin" && echo "$site has it, byte for byte"
    done
}

case $what in
    up) up ;;
    down) down ;;
    demo) demo "${3:-S}" "${4:-t1,t2,t3,t4}" ;;
    *) usage ;;
esac
