#!/usr/bin/env bash
# The namespaces of two-namespaces.toml: `up` makes red, blue and green, `down` removes them.
set -eu

namespaces="red blue green"

case "${1-}" in
up)
    for name in $namespaces; do
        if [ -e "/run/netns/$name" ]; then
            echo "$0: there is a network namespace '$name' already; nothing was changed" >&2
            exit 1
        fi
    done
    for name in $namespaces; do
        ip netns add "$name"
        ip -n "$name" link set lo up
    done
    ;;
down)
    for name in $namespaces; do
        if [ -e "/run/netns/$name" ]; then
            ip netns del "$name"
        fi
    done
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 2
    ;;
esac
