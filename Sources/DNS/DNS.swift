// Cluster DNS: wire codec, zone, forwarding, server loop.
