"""The aggregates, the actors that run them, and the saga that drives an order."""
