"""Benchmarks on real parts: a SQLite file in WAL mode, a redb file, a Kafka broker, our own commands."""
