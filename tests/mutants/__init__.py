"""Deliberately broken builds, and the tests that catch each of them."""
