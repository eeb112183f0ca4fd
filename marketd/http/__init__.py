"""The HTTP front: requests become messages to actors and read models, and their answers become responses."""
