"""An independent recomputation of the ledger's figures from its Parquet export alone, as SQL that an auditor can read.

It is written from docs/ and the JSON Schemas of the events, and shares neither code nor rules with `ledger` and
`projections`. docs/recompute.md says what each file of `sql` computes.
"""
