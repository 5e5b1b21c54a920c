"""Events over HTTP: record them, list them, read one."""
