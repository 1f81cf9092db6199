"""The web console: pages for programme staff and operators, rendered here, beside the HTTP API and in its process."""
