"""Package contents; pyproject.toml has the metadata. It cannot say that configs/ is installed as deltal_openrlhf/configs."""

from pathlib import Path

from setuptools import find_packages, setup

configs = [Path("configs"), *(path for path in Path("configs").rglob("*") if path.is_dir())]
package_dir = {".".join(("deltal_openrlhf", *folder.parts)): folder.as_posix() for folder in configs}

setup(
    packages=[*find_packages(include=["deltal_openrlhf*", "megatron_ext*"]), *package_dir],
    package_dir=package_dir,
    package_data={"": ["py.typed", "*.yaml", "*.json"]},
)
