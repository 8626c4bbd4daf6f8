#!/usr/bin/env bash
# On the GPU machine, in the background of other checks: Transformer Engine out of .gpukit/te into $SITE. Its torch extension is C++ only.
set -euo pipefail
BOX=$1 SITE=$2 WORK=$3
mkdir -p "$WORK" && cd "$WORK"
tar -xJf "$BOX/te/core.tar.xz" -C "$SITE"
python3 -m pip install -q --no-index --no-deps --no-compile --target "$WORK/python" "$BOX"/te/transformer_engine-*.whl
cp -r "$WORK"/python/* "$SITE/"
tar -xzf "$BOX"/te/transformer_engine_torch-*.tar.gz && cd transformer_engine_torch-*
read -r TORCH NVIDIA PYTHON SUFFIX < <(python3 -c 'import os, sysconfig, torch, nvidia
print(os.path.dirname(torch.__file__), list(nvidia.__path__)[0], sysconfig.get_paths()["include"], sysconfig.get_config_var("EXT_SUFFIX"))')
CUDA=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
INCLUDE="-I$TORCH/include -I$TORCH/include/torch/csrc/api/include -I$NVIDIA/cu13/include -I$CUDA/include -I$CUDA/include/cccl"
INCLUDE+=" -I$NVIDIA/cudnn/include -I$NVIDIA/nccl/include -I$PYTHON -Icommon_headers -Icommon_headers/common -Icommon_headers/common/include -Icsrc"
export INCLUDE
mkdir -p build
# The largest first, so that none is left alone at the end.
find csrc -name '*.cpp' -printf '%s %p\n' | sort -rn | cut -d' ' -f2 | xargs -P "$(nproc)" -I{} bash -c '
    g++ -c -std=c++17 -O1 -fPIC -fvisibility=hidden -w -DTORCH_EXTENSION_NAME=transformer_engine_torch -DTORCH_API_INCLUDE_EXTENSION_H \
        $INCLUDE "{}" -o "build/$(echo "{}" | tr / _).o"'
g++ -shared -o "$SITE/transformer_engine_torch$SUFFIX" build/*.o -L"$TORCH/lib" -ltorch -ltorch_cpu -ltorch_python -lc10 -lc10_cuda -ltorch_cuda
PYTHONPATH=$SITE python3 -c 'import transformer_engine.pytorch'
touch "$WORK/done"
