"""The benchmark behind `make bench`: one run, its own floor, and ratios to it."""
