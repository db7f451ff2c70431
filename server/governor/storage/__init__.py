"""The durable state: commits in, a gap-free ledger out. The only home of SQL."""
