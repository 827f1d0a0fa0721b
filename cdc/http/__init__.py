"""HTTP: health, metrics, status and reads of a running part."""
