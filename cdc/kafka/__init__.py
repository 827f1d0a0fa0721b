"""The capture side's end in Kafka: topics, the chain of groups in them, groups and snapshots published."""
