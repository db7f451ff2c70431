"""What an operator can set: every setting with its bound, where it came from, and its reference."""
