"""The wheel: `model` and `server` inside `keras_batch_server`, where they hide no other package."""

from pathlib import Path

from setuptools import find_packages, setup

NAMESPACE = "keras_batch_server"
HERE = Path(__file__).parent


def requirements() -> list[str]:
    """Return what is needed to serve, from the files that the locks are made of."""
    lines = [
        line.partition("#")[0].strip()
        for name in ("onnx", "model", "http")
        for line in (HERE / "requirements" / f"{name}.in").read_text().splitlines()
    ]
    return [line for line in lines if line and not line.startswith("-r")]


found = find_packages(str(HERE), include=["model", "model.*", "server", "server.*"])
setup(
    packages=[f"{NAMESPACE}.{package}" for package in found],
    package_dir={f"{NAMESPACE}.{package}": package.replace(".", "/") for package in found},
    package_data={
        f"{NAMESPACE}.server": ["static/*", "templates/*"],
        f"{NAMESPACE}.server.loadtest.report": ["*.css"],
        f"{NAMESPACE}.model": ["*.yaml"],
        f"{NAMESPACE}.model.formats": ["*.json"],
        f"{NAMESPACE}.model.process": ["keras_home/*"],
    },
    include_package_data=False,
    install_requires=requirements(),
)
