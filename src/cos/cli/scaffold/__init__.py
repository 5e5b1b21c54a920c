"""What `cos module new` writes: a module that passes every check before its author has changed a line."""
