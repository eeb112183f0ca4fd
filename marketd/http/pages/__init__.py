"""The HTML pages for browsers, and the endpoints that their scripts call."""
