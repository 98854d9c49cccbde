"""Pure logic: history in, decisions out. Nothing here does IO, reads a clock or starts a thread."""
