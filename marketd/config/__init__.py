"""The configuration: settings, logging and the one composition root."""
