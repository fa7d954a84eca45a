"""Client-level differential privacy: what one client sends is bounded, and noise hides it."""
