"""Who puts it together: settings, logging and the one composition root."""
