"""`make reliability`: runs the sections that are named, or all, and writes each into the page.

A section is written as soon as it is measured, so that a later one that fails costs no earlier one.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.reliability.page import PAGE, SECTIONS, page_text, renewed
from tests.reliability.section import Measurement, Section, this_machine, today

SEED = 20_261_126


def measured(section: Section, seed: int) -> Measurement:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = section.run(Path(folder).resolve(), seed)
    return Measurement(
        rows=rows,
        seed=seed,
        seconds=time.monotonic() - started,
        day=today(),
        machine=this_machine(),
    )


def main() -> int:
    by_name = {section.name: section for section in SECTIONS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(by_name))
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in by_name]
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}; there are: {', '.join(by_name)}")
    faults: list[str] = []
    for name in arguments.sections or by_name:
        section = by_name[name]
        print(f"{name} ...", flush=True)
        measurement = measured(section, arguments.seed)
        PAGE.write_text(renewed(page_text(), section, measurement))
        faults += [f"{name}: {fault}" for fault in section.faults(measurement.rows)]
    print(*faults, f"written: {PAGE}", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
