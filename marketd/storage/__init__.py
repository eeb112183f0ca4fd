"""Storage: the log of events, the read models beside it, and the uploaded files."""
