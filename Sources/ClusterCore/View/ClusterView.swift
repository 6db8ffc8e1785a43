// What the network needs to know of a cluster, as values: Services, endpoints, pods, policies, Ingresses.
