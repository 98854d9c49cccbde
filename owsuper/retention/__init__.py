"""Deletes runs that ended long ago, and keeps copies of them."""
