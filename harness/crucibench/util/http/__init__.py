"""The one HTTP client: what is sent, how often, what is taken and what is shown of a server."""
