"""One execution of a workflow function: replay, run its steps, record what they returned."""
