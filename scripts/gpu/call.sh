#!/usr/bin/env bash
# On a machine with one GPU and no network, in the root of the clone: bash scripts/gpu/call.sh 1, then 2 (README.md says more).
#   call 1   unpacks the packages; log-probabilities, gradients, guards, overhead; compiles in the background
#   call 2   reinforcement learning of a real model; Megatron
# Exit code 1 if a step failed. OUT: folder for the results. SITE, MODEL, WORK: for packages, the model, builds. PYTHON: the interpreter. SMALL=1: a dry run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BOX=$PWD/.gpukit OUT=${OUT:-/tmp/gpukit/out} SITE=${SITE:-/tmp/gpukit/site} MODEL=${MODEL:-/tmp/gpukit/model} WORK=${WORK:-/tmp/gpukit/work}
PYTHON=${PYTHON:-python3} SMALL=${SMALL:-}
export PYTHONPATH=$SITE:$PWD PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore TQDM_DISABLE=1 TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error
mkdir -p "$OUT" "$SITE" "$MODEL" "$WORK"
BEGUN=$SECONDS FAILED=0

# step NAME SECONDS COMMAND...: with --seconds and --json added; ended 35 s after its time. Whatever it does, the next step runs.
step() {
    local name=$1 seconds=$2 limit=$(($2 + 35)) begun=$SECONDS
    shift 2
    [ -z "$SMALL" ] || seconds=5
    timeout -k 5 "$limit" "$@" --seconds "$seconds" --json "$OUT/$name.jsonl" 2>&1 | tee "$OUT/$name.log" | cut -c1-300
    local code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || FAILED=1
    echo "== $name: exit code $code, $((SECONDS - begun)) s, $((SECONDS - BEGUN)) s so far"
}
VERIFY=("$PYTHON" -m deltal_openrlhf.cli.main verify --only)

case ${1:-} in
1)
    if ls "$BOX"/whl/*.whl >/dev/null 2>&1 && [ ! -e "$SITE/openrlhf" ]; then
        "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$SITE" "$BOX"/whl/*.whl 2>&1 | grep -v WARNING
        echo "== packages unpacked: $((SECONDS - BEGUN)) s so far"
    fi
    if nvidia-smi -L >/dev/null 2>&1; then
        # On the other cores while the GPU works. setsid: they outlive this call.
        setsid "$PYTHON" -c 'from deepspeed.ops.op_builder import FusedAdamBuilder; FusedAdamBuilder().load()' >"$WORK/fused_adam.log" 2>&1 &
        [ ! -d "$BOX/te" ] || setsid nice -n 10 bash scripts/gpu/build_te.sh "$BOX" "$SITE" "$WORK/te" >"$WORK/te.log" 2>&1 &
    fi
    step verify 270 "${VERIFY[@]}" machine gradients guards logprob overhead
    ;;
2)
    cp "$WORK"/*.log "$OUT/" 2>/dev/null
    [ ! -e "$WORK/te.log" ] || { [ -e "$WORK/te/done" ] && echo "== Transformer Engine was built"; } || tail -n 5 "$WORK/te.log"
    GGUF=$MODEL/SmolLM2-135M-Instruct.Q4_1.gguf
    [ ! -e "$BOX/b/gguf" ] || cat "$BOX"/a/gguf "$BOX"/b/gguf >"$GGUF"
    if [ -n "$SMALL" ]; then step rl 150 "$PYTHON" scripts/gpu/rl.py --work "$MODEL" --small
    else step rl 150 "$PYTHON" scripts/gpu/rl.py --work "$MODEL" --gguf "$GGUF"; fi
    step megatron 160 "${VERIFY[@]}" machine megatron
    ;;
*)
    echo "call.sh: the call is '${1:-}', allowed are 1 and 2" >&2
    exit 2
    ;;
esac
cat "$OUT"/*.jsonl >"$OUT/call-$1.results" 2>/dev/null
echo "== all of call $1: $((SECONDS - BEGUN)) s"
exit $FAILED
