"""`python -m governor` is the program `governor`."""

from governor.cli import main

if __name__ == "__main__":
    main()
