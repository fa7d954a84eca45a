"""What a client does with what it was told: the local step, for one client or for a cohort."""
