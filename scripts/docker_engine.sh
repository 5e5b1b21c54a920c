#!/bin/sh
# Prints the address of a Docker engine for the tests: one that runs, or one that it installs and starts (as root, on
# Debian and Ubuntu). Prints nothing where that cannot be; the tests that need an engine then say that they did not run.
# The engine that it starts has its own folder and socket, no network of its own, and ends with the process given as $1.
set -u
owner=${1:?usage: docker_engine.sh PID}

answers() { curl --silent --fail --max-time 5 --unix-socket "$1" http://docker/version >/dev/null 2>&1; }
say() { printf '%s\n' "$*" >&2; }

case "${DOCKER_HOST:-}" in
    unix://*) answers "${DOCKER_HOST#unix://}" && { echo "$DOCKER_HOST"; exit 0; } ;;
esac
answers /var/run/docker.sock && { echo unix:///var/run/docker.sock; exit 0; }

[ "$(id -u)" -eq 0 ] || { say 'No Docker engine runs, and only root can start one: its tests will not run.'; exit 0; }
if ! command -v dockerd >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || { say 'No Docker engine, and no apt-get to install one: its tests will not run.'; exit 0; }
    say 'Installing docker.io …'
    # Its own start is forbidden where there is no init; ours follows.
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -q --no-install-recommends docker.io >/dev/null 2>&1 \
        || { timeout 120 apt-get update -q >/dev/null 2>&1 \
            && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -q --no-install-recommends docker.io >/dev/null 2>&1; } \
        || { say 'docker.io could not be installed: its tests will not run.'; exit 0; }
fi

folder=$(mktemp -d /tmp/cos-docker-XXXXXX)
for driver in overlay2 vfs; do
    setsid dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver="$driver" \
        --data-root "$folder/data-$driver" --exec-root "$folder/exec" --pidfile "$folder/pid" \
        -H "unix://$folder/docker.sock" >"$folder/log" 2>&1 </dev/null &
    engine=$!
    tries=0
    while kill -0 "$engine" 2>/dev/null && [ "$tries" -lt 150 ]; do
        if answers "$folder/docker.sock"; then
            # Whoever watches must not hold our output open.
            setsid sh -c '
                while kill -0 "$1" 2>/dev/null; do sleep 1; done
                kill "$2"; while kill -0 "$2" 2>/dev/null; do sleep 0.2; done; rm -rf "$3"
            ' sh "$owner" "$engine" "$folder" >/dev/null 2>&1 </dev/null &
            echo "unix://$folder/docker.sock"
            exit 0
        fi
        tries=$((tries + 1))
        sleep 0.2
    done
    kill "$engine" 2>/dev/null
done
say "dockerd does not run here ($(tail -n 1 "$folder/log")): its tests will not run."
rm -rf "$folder"
