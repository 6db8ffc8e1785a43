// The third reading of a ruleset: apply it to the kernel by netlink, and observe what is in force.
