"""The same load by h2load, where it is installed: shows what our own generator takes for itself.

h2load (nghttp2) sends one body again and again, which is right for the echo and for nothing that
needs a fresh request_id: so it measures the floor, and the generator measures the rest.
"""

import re
import shutil
import subprocess
from pathlib import Path

CONNECTIONS = 8
_RATE = re.compile(r"finished in [^,]+, ([0-9.]+) req/s")


def echo_per_second(
    target: str, path: str, message: bytes, *, callers: int, seconds: float, home: Path
) -> float | None:
    """Calls per second in a closed loop of `callers`; None where h2load is not installed."""
    program = shutil.which("h2load")
    if program is None:
        return None
    body = home / "body"
    body.write_bytes(b"\0" + len(message).to_bytes(4) + message)
    command = [
        program,
        f"--duration={max(1, round(seconds))}",
        f"--clients={CONNECTIONS}",
        f"--max-concurrent-streams={callers // CONNECTIONS}",
        f"--data={body}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"--base-uri={target}",
        f"http://localhost{path}",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = _RATE.search(printed)
    return float(found.group(1)) if found else None
