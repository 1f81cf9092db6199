"""Real consumers, a real relay, a real Kafka and a real PostgreSQL, and faults at random instants, again and again."""
