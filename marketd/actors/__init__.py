"""Who decides: the aggregates, the machinery that runs them, and the saga that leads an order."""
