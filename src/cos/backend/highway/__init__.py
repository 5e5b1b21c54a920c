"""Consumer groups, projections and dead letters, over HTTP."""
