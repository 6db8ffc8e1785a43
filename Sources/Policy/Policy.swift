// NetworkPolicy to a ruleset.
