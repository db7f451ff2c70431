"""How much memory a process has, as the kernel counts it."""

from pathlib import Path

MEBIBYTE = 1_048_576
_KIBIBYTE = 1_024


def resident_bytes(pid: int) -> int:
    """What lies in memory now."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most that ever lay there."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIBIBYTE
    raise ValueError(f"the kernel does not tell {name}")
