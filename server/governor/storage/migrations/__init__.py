"""The schema's history: every version a store can have, and the step that leads to it."""
