"""Who may do what: tokens, sessions, scopes and limits, in front of every route."""
