"""The control socket of a cache's one writer: what it takes and answers, who listens, who asks."""
