"""Pure logic: history in, decisions out. No IO, no clock, no threads."""
