"""The ledger: a pure core that decides, and a shell that stores. See docs/adr and README."""
