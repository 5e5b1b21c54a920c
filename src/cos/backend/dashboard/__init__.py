"""The dashboard: one page on which a person sees COS alive, and acts."""
