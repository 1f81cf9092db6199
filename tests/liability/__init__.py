"""The liability: roll-forward, breakage and deferred revenue."""
