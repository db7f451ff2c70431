"""What load does to a real sidecar: what it refuses, what it keeps, how much memory it takes."""
