"""botocore's own protocol cases, fetched once into the untracked cache: they are in its source archive only."""

import importlib.metadata
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "botocore"


@pytest.fixture(scope="session")
def botocore_cases():
    """Suites by `input/<file>` and `output/<file>`, of the botocore that is installed."""
    version = importlib.metadata.version("botocore")
    archive = CACHE / f"botocore-{version}.tar.gz"
    if not archive.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", "botocore", f"botocore=={version}", "--dest", str(CACHE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if not archive.is_file():
            pytest.fail(
                "The protocol cases of botocore could not be fetched (pip download of its source archive failed); "
                f"they are needed once, later runs use .cache/botocore.\n{done.stdout}\n{done.stderr}"
            )
    suites = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, name = member.name.partition("/tests/unit/protocols/")
            if name.startswith(("input/", "output/")) and name.endswith(".json"):
                file = tar.extractfile(member)
                assert file is not None
                suites[name] = json.load(file)
    return suites
