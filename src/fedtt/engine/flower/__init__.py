"""Real clients on real sites, carried by Flower."""
