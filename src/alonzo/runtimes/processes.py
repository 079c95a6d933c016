"""Runs the programs that prepare a runtime, each with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence


async def run(argv: Sequence[str], deadline_s: float, environment: dict[str, str]) -> tuple[int, str]:
    """Run to the end, at most `deadline_s`; the exit status and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), deadline_s)
    except TimeoutError:
        return -1, f"it took longer than {deadline_s:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def last_error(output: str) -> str:
    """The line that says why, of what pip, uv, npm or an interpreter printed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    chosen = errors[-1] if errors else lines[-1] if lines else ""
    return chosen.removeprefix("ERROR:").strip().rstrip(".")[:300]


async def to_the_end(work: Callable[[], object]) -> None:
    """Run in a thread, and wait for it even when cancelled: a thread left alone would write into what is cleaned up."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task})
