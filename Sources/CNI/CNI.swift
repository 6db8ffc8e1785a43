// The CNI plugin as a library: verbs, IPAM, bridge and veth.
