"""How money moves: the processor's port and the parties behind it."""
