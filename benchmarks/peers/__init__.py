"""The same work done by owsuper and by its peers, in one session, with one driver."""
