// An nftables ruleset as a value, with two of its three readings: print (nft syntax) and evaluate. Pure.
