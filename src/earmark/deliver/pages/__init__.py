"""Pages for people: a folder that a browser opens without a server."""
