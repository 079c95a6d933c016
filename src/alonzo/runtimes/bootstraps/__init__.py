"""Programs that run inside an execution environment, copied there when a runtime is prepared. Nothing imports them."""

from __future__ import annotations

import hashlib
from pathlib import Path

_HERE = Path(__file__).parent
#: Run by the prepared interpreter before it is published; see there.
PATTERNS = _HERE / "patterns.py"
KNOWN = _HERE / "known.py"


def digest() -> str:
    """Names this version of the programs: a runtime prepared with another is prepared anew."""
    ours = ("python.py", "client.py", "answers.py", "sdk.py", "snapshot.py", "opening.py", "python.sh")
    names = (*ours, "patterns.py", "known.py")
    programs = b"".join((_HERE / name).read_bytes() for name in names)
    return hashlib.sha256(programs).hexdigest()


def write(folder: Path, *, client: bool = True) -> None:
    """Put Python's programs into what becomes /var/runtime; without `client`, AWS's speaks to the Runtime API."""
    (folder / "bootstrap.py").write_bytes((_HERE / "python.py").read_bytes())
    if client:
        (folder / "_alonzo_client.py").write_bytes((_HERE / "client.py").read_bytes())
        (folder / "_alonzo_answers.py").write_bytes((_HERE / "answers.py").read_bytes())
        (folder / "_alonzo_snapshot.py").write_bytes((_HERE / "snapshot.py").read_bytes())
        (folder / "_alonzo_opening.py").write_bytes((_HERE / "opening.py").read_bytes())
    (folder / "_alonzo_sdk.py").write_bytes((_HERE / "sdk.py").read_bytes())
    wrapper = folder / "bootstrap"
    wrapper.write_bytes((_HERE / "python.sh").read_bytes())
    wrapper.chmod(0o755)


def node_client() -> bytes:
    """Node.js's client: one file, because each costs a cold start."""
    return b"\n".join(path.read_bytes() for path in sorted((_HERE / "node").glob("*.cjs")))


def _rehearsals() -> list[Path]:
    return sorted((_HERE / "node/rehearsal").glob("*js"))


def node_digest() -> str:
    """Names this version of Node.js's programs."""
    programs = [node_client(), *(path.read_bytes() for path in (*_rehearsals(), _HERE / "python.sh"))]
    return hashlib.sha256(b"".join(programs)).hexdigest()


def write_node(folder: Path) -> None:
    """Put Node.js's programs into what becomes /var/runtime."""
    (folder / "index.cjs").write_bytes(node_client())
    (folder / "_alonzo").mkdir(exist_ok=True)
    for path in _rehearsals():
        (folder / "_alonzo" / path.name).write_bytes(path.read_bytes())
    wrapper = folder / "bootstrap"
    wrapper.write_bytes((_HERE / "python.sh").read_bytes())
    wrapper.chmod(0o755)
