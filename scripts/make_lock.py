"""Makes the lock of the GPU environment, scripts/requirements-gpu.txt, and the metadata that tests/scripts/test_lock.py checks it with.

    pip install uv && python scripts/make_lock.py        # in the environment of scripts/setup.sh

uv resolves the extras of pyproject.toml and scripts/requirements-gpu.toml for CPython 3.11 and 3.12 on Linux x86-64. Both have to come
to the same versions. pip then says which file of each package it would take, and what that file asks for: scripts/requirements-gpu.json.
pip downloads the files for that, about 4 GB for each Python.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SCRIPTS = Path(__file__).parent
INPUT = SCRIPTS / "requirements-gpu.toml"
LOCK = SCRIPTS / "requirements-gpu.txt"
METADATA = SCRIPTS / "requirements-gpu.json"
PYTHONS = ("3.11", "3.12")
GLIBC = 31
"""Minor version, as llguidance (vllm) needs: Ubuntu 20.04, Debian 11, RHEL 9."""
OWN_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")

HEADER = """\
# The GPU environment, fully pinned, for CPython 3.11 and 3.12 on Linux x86-64; scripts/setup.sh installs it with --no-deps.
# Made by scripts/make_lock.py from pyproject.toml and scripts/requirements-gpu.toml, which says what is left out and why.
"""


def wheels_only(settings: dict) -> list[str]:
    """Arguments of uv and of pip: nothing is compiled but what the input names."""
    return ["--only-binary=:all:", *(f"--no-binary={name}" for name in settings["from_source"])]


def of_the_project(extras: list[str]) -> list[str]:
    """The project's requirements, as they are installed here; extras: of these only."""
    requirements = [Requirement(line) for line in distribution("deltal-openrlhf").requires or ()]
    wanted = [r for r in requirements if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in extras)]
    for requirement in wanted:
        requirement.marker = None
    return [str(requirement) for requirement in wanted]


def resolve(settings: dict, python: str, constraints: list[str]) -> list[str]:
    """The pins, name==version, sorted by name."""
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "in": [*settings["requirements"], *of_the_project(settings["extras"])],
            "constraint": constraints,
            "override": [f"{name}; sys_platform == 'never'" for name in settings["left_out"]],
        }
        for name, lines in files.items():
            Path(folder, name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config"]
        command += ["--python-version", python, "--python-platform", f"x86_64-manylinux_2_{GLIBC}"]
        command += wheels_only(settings)
        command += ["--constraint", f"{folder}/constraint", "--override", f"{folder}/override"]
        return subprocess.run([*command, f"{folder}/in"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def shared_with_cpu(settings: dict) -> list[str]:
    """The CPU environment's pins, as constraints."""
    text = (SCRIPTS / "requirements-cpu.txt").read_text(encoding="utf-8")
    own = {*settings["not_as_on_cpu"], *(Requirement(line).name for line in settings["requirements"])}
    return [line for line in re.findall(r"^\w.*", text, re.M) if canonicalize_name(line.partition("==")[0]) not in own]


def files(settings: dict, pins: list[str], python: str) -> dict[str, tuple[str, dict]]:
    """By canonical name: the file that pip takes and its core metadata."""
    platforms = ["linux_x86_64", "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
    platforms += [f"manylinux_2_{minor}_x86_64" for minor in range(5, GLIBC + 1)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--python-version", python, "--implementation", "cp", "--target", folder, "--report", str(report)]
        command += wheels_only(settings)
        command += [argument for platform in platforms for argument in ("--platform", platform)]
        # PyPI alone: a machine's own index and folders may hold other files.
        variables = {name: value for name, value in os.environ.items() if name not in OWN_INDEX}
        subprocess.run([*command, *pins], check=True, env={**variables, "PIP_CONFIG_FILE": os.devnull})
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        canonicalize_name(item["metadata"]["name"]): (Path(item["download_info"]["url"]).name, item["metadata"])
        for item in installs
    }


def requested_extras(requirements: list[str]) -> dict[str, set[str]]:
    """By canonical name: the extras that any requirement names, whether or not its marker applies."""
    extras: dict[str, set[str]] = {}
    for requirement in map(Requirement, requirements):
        extras.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return extras


def describe(settings: dict, found: dict[str, dict[str, tuple[str, dict]]]) -> dict[str, dict]:
    """By name: files and requires_python as they are, requires_dist without the extras that nobody asks for."""
    everyone = [*settings["requirements"], *(distribution("deltal-openrlhf").requires or ())]
    everyone += [
        line for of in found.values() for _, metadata in of.values() for line in metadata.get("requires_dist", ())
    ]
    extras = requested_extras(everyone)
    described = {}
    for name in found[PYTHONS[0]]:
        metadata = [of[name][1] for of in found.values()]
        lines = sorted({line for each in metadata for line in each.get("requires_dist", ())})
        of_extras = {line: set(re.findall(r"""extra == ['"]([^'"]+)""", line)) for line in lines}
        described[name] = {
            "files": sorted({of[name][0] for of in found.values()}),
            "requires_python": metadata[0].get("requires_python", ""),
            "requires_dist": [
                line for line in lines if not of_extras[line] or of_extras[line] & extras.get(name, set())
            ],
        }
    return described


def main() -> None:
    if shutil.which("uv") is None:
        sys.exit("make_lock: uv is not on PATH: pip install uv")
    settings = tomllib.loads(INPUT.read_text(encoding="utf-8"))
    constraints = shared_with_cpu(settings)
    pins = resolve(settings, PYTHONS[0], constraints)
    for python in PYTHONS[1:]:
        differ = set(resolve(settings, python, [*constraints, *pins])) ^ set(pins)
        if differ:
            sys.exit(f"make_lock: Python {PYTHONS[0]} and {python} need other versions: {', '.join(sorted(differ))}")
    described = describe(settings, {python: files(settings, pins, python) for python in PYTHONS})
    LOCK.write_text(HEADER + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    METADATA.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print(f"{len(pins)} packages in {LOCK.name}")


if __name__ == "__main__":
    main()
