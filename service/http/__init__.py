"""The HTTP API: commands, reads and feeds of the ledger under /v1, with keys, problems and an OpenAPI description."""
