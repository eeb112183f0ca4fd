"""The pages: what people see who come with a browser, and what the scripts of these pages ask."""
