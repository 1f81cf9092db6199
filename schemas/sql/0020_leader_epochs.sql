-- A log of Kafka that was cut short, and then went on, has other messages at offsets that were taken. What tells is the
-- epoch of the leader that wrote the last message taken: brokers know where each epoch ended.

ALTER TABLE source_partitions ADD COLUMN leader_epoch integer NOT NULL DEFAULT -1 CHECK (leader_epoch >= -1);  -- -1: not known
