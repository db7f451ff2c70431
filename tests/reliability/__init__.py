"""`make reliability`: what the page docs/reliability.md shows, measured anew and written down."""
