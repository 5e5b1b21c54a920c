"""From any failing test suite to all green: causes, missions, proof; of COS it imports its errors alone."""
