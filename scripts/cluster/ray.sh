#!/usr/bin/env bash
# A Ray cluster for a run on several nodes. On each node, in a clone at the same path of a file system that all of them see:
#   bash scripts/cluster/ray.sh head [flags of ray start]                # on the first node; stays until it is ended
#   bash scripts/cluster/ray.sh worker FIRST_NODE [flags of ray start]   # on each of the others; stays too
#   bash scripts/cluster/ray.sh wait FIRST_NODE N                        # until N nodes are there, at most 5 minutes
# RAY_PORT: the first node's port (6379). Ray trusts everyone who reaches its ports: not for an open network.
# RAY_ENDS_ON: a signal (such as USR2) that ends Ray; then SIGTERM and SIGUSR1 do not. Slurm sends these to all of a job, and the run has
# to save first.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # Ray's workers start in this folder, and the recipes' paths begin here
export PATH="${DELTAL_VENV:-$PWD/.venv}/bin:$PATH" RAY_USAGE_STATS_ENABLED=0
PORT=${RAY_PORT:-6379}

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# The head may be a moment behind.
await_head() {
    for _ in {1..60}; do
        (exec 3<>"/dev/tcp/$1/$PORT") 2>/dev/null && return
        sleep 2
    done
    echo "ray.sh: no Ray at $1:$PORT after 2 minutes; is the head started, and the port open?" >&2
    exit 1
}

# Ray in a session of its own, until it ends or RAY_ENDS_ON comes.
serve() {
    [[ -n ${RAY_ENDS_ON:-} ]] || exec "$@"
    setsid "$@" &
    local ray=$!
    trap 'kill -TERM "$ray" 2>/dev/null || true' "$RAY_ENDS_ON"
    trap : TERM USR1
    while kill -0 "$ray" 2>/dev/null; do wait "$ray" || true; done
    wait "$ray"
}

case "${1:-} $#" in
"head "*) serve ray start --head --port "$PORT" --block "${@:2}" ;;
"worker "[2-9]*)
    await_head "$2"
    serve ray start --address "$2:$PORT" --block "${@:3}" ;;
"wait 3")
    await_head "$2"
    exec python - "$2:$PORT" "$3" <<'PYTHON' ;;
import sys, time, ray
address, wanted = sys.argv[1], int(sys.argv[2])
ray.init(address=address, logging_level="ERROR", log_to_driver=False)
for _ in range(60):
    alive = sum(node["Alive"] for node in ray.nodes())
    if alive >= wanted:
        sys.exit(0)
    time.sleep(5)
sys.exit(f"ray.sh: {alive} of {wanted} nodes at {address} after 5 minutes")
PYTHON
*) usage ;;
esac
